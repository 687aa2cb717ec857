"""Memory that large uploads leave behind in the C library's arenas is given back, a moment after the last of them."""

import asyncio
import ctypes
from collections.abc import Callable

DELAY_S = 1.0


def malloc_trim() -> None:
    """Nothing, where the C library has no such function."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Trimmer:
    """``ask`` has ``trim`` called in a thread within ``DELAY_S``, once for all who asked meanwhile."""

    def __init__(self, trim: Callable[[], None] = malloc_trim) -> None:
        self._trim = trim
        self._due: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(DELAY_S, self._start)

    def _start(self) -> None:
        self._due = None
        asyncio.get_running_loop().run_in_executor(None, self._trim)
