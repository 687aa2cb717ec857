"""What this ingress replica has seen of the last minutes, second by second: what the live panel shows."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from deployments.contract import Level
from deployments.ingress.fleet import Fleet

REMEMBERED_S = 300
COUNTED = ("offered", "admitted", Level.FULL.value, Level.FAST.value, Level.HOLDING.value, "failed")
RATE_S = 5
"""Rates are those of so many whole seconds."""


@dataclass(slots=True)
class Second:
    """What was counted in a second, and the most that was seen in it of what is no count."""

    at: int
    counts: Counter[str] = field(default_factory=Counter)
    queue_age_s: float = 0.0
    rows_used: int = 0
    rows: int = 0
    replicas: int = 0
    level: Level = Level.FULL

    def told(self) -> dict[str, Any]:
        return {"at": self.at, **{name: self.counts[name] for name in COUNTED}, **self.state()}

    def state(self) -> dict[str, Any]:
        """What is no count."""
        return {
            "queue_age_s": round(self.queue_age_s, 3),
            "rows_used": self.rows_used,
            "rows": self.rows,
            "replicas": self.replicas,
            "level": self.level,
        }


class Traffic:
    """Counts requests, and looks at the fleet whenever it counts one or is asked."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet, self._clock = fleet, clock
        self._seconds: deque[Second] = deque(maxlen=REMEMBERED_S)

    def count(self, what: str) -> None:
        self._looked().counts[what] += 1

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Counts whoever gets into the block."""
        self.count("admitted")
        yield

    def seconds(self, since: int = 0) -> list[dict[str, Any]]:
        """Each second from ``since`` (seconds since the epoch), oldest first, but those in which nothing was seen."""
        self._looked()
        return [second.told() for second in self._seconds if second.at >= since]

    def now(self) -> dict[str, Any]:
        """The service as it is: what it was asked a second lately, and what its replicas last said."""
        here, now, counts = self._looked(), self._clock(), self._lately()
        loads = self._fleet.loads()
        return here.state() | {
            "time": now,
            "running": sum(load.running for load in loads),
            "waiting": sum(load.waiting for load in loads),
            "predicted_wait_s": round(self._fleet.wait_s(0, 0, now), 3),
            "per_s": {name: counts[name] / RATE_S for name in COUNTED},
        }

    def offered_per_s(self) -> float:
        return self._lately()["offered"] / RATE_S

    def _lately(self) -> Counter[str]:
        """What was counted in the last whole seconds."""
        now = int(self._clock())
        return sum((one.counts for one in self._seconds if now - RATE_S <= one.at < now), Counter[str]())

    def _looked(self) -> Second:
        """The present second, with what the fleet says in it."""
        at = int(self._clock())
        if not self._seconds or self._seconds[-1].at != at:
            self._seconds.append(Second(at))
        here, loads = self._seconds[-1], self._fleet.loads()
        here.queue_age_s = max([here.queue_age_s, *(load.queue_age_s for load in loads)])
        here.rows_used = max(here.rows_used, sum(load.rows_used for load in loads))
        here.rows, here.replicas, here.level = sum(load.rows for load in loads), len(loads), self._fleet.level
        return here
