"""How fast bodies flow from Serve's proxy into an ingress replica, which has them in memory until it has read them.

Ray hands everything on as soon as it arrives: 40 uploads of 19 MB at once would all be in the replica's memory before
the first was written to disk. Slowed down a little, each is written as it comes.
"""

import time
from collections.abc import Callable

BYTES_PER_S = 96 * 2**20
"""What one replica reads and writes on a slow core, beside its other work; far above what the rest of it could do."""
AT_ONCE = 16 * 2**20
"""So much may come without any wait."""


class Flow:
    """A token bucket for all bodies of a proxy."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._due = clock, 0.0

    def wait_s(self, size: int) -> float:
        """How long to wait before ``size`` more bytes go on."""
        now = self._clock()
        self._due = max(self._due, now - AT_ONCE / BYTES_PER_S) + size / BYTES_PER_S
        return max(0.0, self._due - now)
