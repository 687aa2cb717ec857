"""Replicas that follow a step of load: ``python -m benchmarks.autoscaling``."""

ROWS, FULL_ROWS, ANSWER_S = 8, 2, 0.8
"""A replica gives ten greedy answers a second, or five by beams: ``full_cost`` is 2 here."""
WORTH_PER_S = ROWS / FULL_ROWS / ANSWER_S * 0.8
"""Requests a second that one replica answers at the best level, as busy as the policy has it."""
