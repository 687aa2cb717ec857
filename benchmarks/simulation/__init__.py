"""The service's decisions on a simulated clock: the real scheduler, ladder, admission and policy; measured costs."""
