"""A circuit breaker: after faults in a row nobody waits for a service that is away; now and then one tries it."""

import time
from collections.abc import Callable
from typing import Literal

BreakerStatus = Literal["ok", "open"]


class Breaker:
    """Opens after ``faults`` faults in a row, then lets one probe through per ``pause_s``; a success closes it.

    There is no half-open state to get stuck in: a probe whose caller went away without a word is followed by the
    next one a pause later.
    """

    def __init__(self, faults: int = 5, pause_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        if faults < 1 or pause_s <= 0:
            raise ValueError(f"a breaker needs at least 1 fault and a pause, not {faults} and {pause_s} s")
        self._limit, self._pause_s, self._clock = faults, pause_s, clock
        self._in_a_row = 0
        self._probe_at: float | None = None

    @property
    def status(self) -> BreakerStatus:
        return "ok" if self._probe_at is None else "open"

    def allows(self) -> bool:
        """Whether to ask the service now. While open this hands out the probe: who gets True must ask."""
        if self._probe_at is None:
            return True
        now = self._clock()
        if now < self._probe_at:
            return False
        self._probe_at = now + self._pause_s
        return True

    def succeeded(self) -> bool:
        """The service answered. True if that closed the breaker."""
        closed = self._probe_at is not None
        self._in_a_row, self._probe_at = 0, None
        return closed

    def failed(self) -> bool:
        """The service was away or late. True if that opened the breaker."""
        self._in_a_row += 1
        if self._in_a_row < self._limit:
            return False
        opened = self._probe_at is None
        self._probe_at = self._clock() + self._pause_s
        return opened
