"""Whether an answer has come to say the same again and again: it would do so to its limit."""

from collections.abc import Sequence

LONGEST_PERIOD = 48
"""Tokens of what is repeated, at most."""
LEAST_TOKENS = 64
LEAST_TIMES = 6
"""A repetition is so many tokens and so many times the same: rules of tables and rows of zeros are shorter."""
EVERY = 16
"""Tokens from one look to the next: what is found is a repetition then, too, whoever looks."""
WINDOW = LONGEST_PERIOD * LEAST_TIMES


def is_due(generated: int) -> bool:
    """Whether to look at a hypothesis of so many tokens."""
    return generated >= LEAST_TOKENS and generated % EVERY == 0


def repeats(token_ids: Sequence[int]) -> bool:
    """Whether the last tokens are one n-gram over and over."""
    return any(_has_period(token_ids, period) for period in range(1, LONGEST_PERIOD + 1))


def _has_period(token_ids: Sequence[int], period: int) -> bool:
    length = max(LEAST_TOKENS, LEAST_TIMES * period)
    if len(token_ids) < length:
        return False
    return all(token_ids[-place] == token_ids[-place - period] for place in range(1, length - period + 1))
