"""How long to wait before connecting again: after failures, and after a foreign client has taken the bot. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.wecom.sockets.protocol import Over, Why

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
LONGEST_REFUSED_S = 300.0
"""WeCom guards its subscriptions: an id or secret that it refuses is seldom asked about."""
SETTLED_S = 10.0
"""A connection that ends sooner than that after its acknowledgement is no sign that all is well."""
HOUR_S = 3600.0


@dataclass(slots=True)
class Backoff:
    """Failures in a row. Only an acknowledged subscription ends the row, and one that lasts a moment not even that."""

    failures: int = 0
    short_lived: int = 0

    def after(self, ending: Over, lasted_s: float | None) -> float:
        """The pause, in seconds, before any jitter. ``lasted_s``: since its acknowledgement, None without one."""
        if lasted_s is None:
            self.failures += 1
        else:
            self.failures, self.short_lived = 0, self.short_lived + 1 if lasted_s < SETTLED_S else 1
        in_a_row = max(self.failures, self.short_lived) - 1
        longest = LONGEST_REFUSED_S if ending.why is Why.REFUSED else LONGEST_PAUSE_S
        return min(longest, FIRST_PAUSE_S * 2.0 ** min(in_a_row, 16))


def retake_pause_s(retaken_at: Sequence[float], now: float, most_an_hour: int, first_pause_s: float) -> float | None:
    """How long after an eviction the bot may be taken back, given when that was done before; None: never.

    Each pause within an hour is twice the one before; once the hour's number is used up, its first must be an hour old.
    """
    if not most_an_hour:
        return None
    recent = sorted(at for at in retaken_at if at > now - HOUR_S)
    pause_s = first_pause_s * 2.0 ** len(recent)
    return pause_s if len(recent) < most_an_hour else max(pause_s, recent[-most_an_hour] + HOUR_S - now)
