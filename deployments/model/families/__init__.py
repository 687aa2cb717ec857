"""Model families: everything that differs between kinds of checkpoints stands behind ``family.Family``."""
