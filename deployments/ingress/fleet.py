"""The model's replicas as their last words have them: how long a newcomer would wait, before he is let in."""

import math
from dataclasses import dataclass

from deployments.contract import Level, Load
from deployments.errors import Overloaded

FORGET_S = 30.0
"""A replica that has said nothing for so long, while others may have, counts no longer."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a replica last said, and when."""

    load: Load
    at: float

    def outstanding(self, now: float) -> float:
        """What it has left to do, if it goes on as it did."""
        done = (now - self.at) / self.load.gap_s if self.load.gap_s else math.inf
        return max(0.0, self.load.running + self.load.waiting - done)


class Fleet:
    """The last word of each replica."""

    def __init__(self) -> None:
        self._words: dict[str, Word] = {}

    def heard(self, load: Load, now: float) -> None:
        self._words[load.replica] = Word(load, now)
        for replica in [name for name, word in self._words.items() if now - word.at > FORGET_S]:
            del self._words[replica]

    def silent(self, since: float) -> list[str]:
        """Replicas that have said nothing since then."""
        return [name for name, word in self._words.items() if word.at < since]

    def forget(self, replica: str) -> None:
        """It counts no longer, until it says something."""
        self._words.pop(replica, None)

    def loads(self) -> list[Load]:
        return [word.load for word in self._words.values()]

    @property
    def replicas(self) -> int:
        return len(self._words)

    @property
    def level(self) -> Level:
        """The best level of any; who is sent there finds it."""
        levels = [load.level for load in self.loads()]
        return next((level for level in Level if level in levels), Level.FULL)

    @property
    def gap_s(self) -> float:
        """From answer to answer of all of them together; 0 while nobody knows."""
        per_s = sum(1 / load.gap_s for load in self.loads() if load.gap_s)
        return 1 / per_s if per_s else 0.0

    def wait_s(self, mine: int, ahead: int, now: float) -> float:
        """Of a newcomer, who has ``ahead`` of the ``mine`` requests from here before him; others' are shared alike."""
        loads, gap_s = self.loads(), self.gap_s
        others = max(0.0, sum(word.outstanding(now) for word in self._words.values()) - mine)
        before = ahead + others * ((ahead + 1) / (mine + 1))
        return max(0.0, before + 1 - sum(load.rows for load in loads)) * gap_s

    def demand_time(self, wait_s: float, left_s: float) -> None:
        """Raises Overloaded where nobody could answer within ``left_s``, or nobody lets in who waits so long."""
        loads = self.loads()
        if not wait_s or not loads:
            return
        limit_s = max(load.limit_s for load in loads)
        answer_s = min(load.answer_s for load in loads)
        if wait_s > limit_s or wait_s + answer_s > left_s:
            raise Overloaded("the service is busy: ask again", wait_s)
