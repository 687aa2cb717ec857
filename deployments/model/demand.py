"""How much is asked of a replica, whatever becomes of it: what is refused is demand as well as what is answered."""

import math
from dataclasses import dataclass

WINDOW_S = 5.0
"""What was asked so long ago counts for a third of what is asked now."""


@dataclass(frozen=True, slots=True)
class Demand:
    """``per_s`` requests a second as of ``at``, exponentially averaged."""

    per_s: float = 0.0
    at: float = 0.0

    def after(self, now: float, requests: int) -> "Demand":
        return Demand(self.now(now) + requests / WINDOW_S, now)

    def now(self, now: float) -> float:
        return self.per_s * math.exp(-max(0.0, now - self.at) / WINDOW_S)
