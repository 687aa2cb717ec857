"""A response's body as it arrives: its bytes are counted, and taken from a budget of memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager, aclosing
from typing import Protocol

import httpcore2

from deployments.errors import FetchFailed, ImageTooLarge

STEP_BYTES = 1024 * 1024
FREE_PIECES, PIECE_BYTES = 1_000, 128
"""Each piece of a body costs time on the loop, however short: after the first ones they must average this length."""


class ByteBudget(Protocol):
    """Memory that all requests of this process share."""

    async def take(self, count: int) -> None:
        """Waits until so many bytes are free. Whoever is cancelled while waiting has taken none."""
        ...

    def give_back(self, count: int) -> None: ...


class Unlimited:
    async def take(self, count: int) -> None:
        pass

    def give_back(self, count: int) -> None:
        pass


class Body:
    """The body of one response from the host ``named``; raises ImageTooLarge when it says that it is."""

    def __init__(self, response: httpcore2.Response, named: str, max_bytes: int) -> None:
        self._response, self._named, self._max_bytes = response, named, max_bytes
        self._announced = int(header(response, b"content-length") or 0)
        self._check_size(self._announced)

    async def read(self, budget: ByteBudget, in_queue: Callable[[], AbstractContextManager[None]]) -> bytes:
        """All of it, for which as many bytes of the budget stay taken; whoever waits for some does so ``in_queue``."""
        pieces, size, taken, kept = [], 0, 0, 0
        try:
            async with aclosing(self._response.aiter_stream()) as arriving:
                async for piece in arriving:
                    pieces.append(piece)
                    size += len(piece)
                    self._check_size(size)
                    self._check_pieces(len(pieces), size)
                    while size > taken:
                        step = self._step(taken)
                        with in_queue():
                            await budget.take(step)
                        taken += step
            kept = size
            return b"".join(pieces)
        finally:
            budget.give_back(taken - kept)

    def _step(self, taken: int) -> int:
        """What to take of the budget next: all that was announced, so that nobody waits half-way, or a step."""
        return max(self._announced - taken, 0) or min(STEP_BYTES, self._max_bytes - taken)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise ImageTooLarge(
                f"the picture at {self._named} has more than {self._max_bytes / 2**20:.3g} MB: send it smaller"
            )

    def _check_pieces(self, pieces: int, size: int) -> None:
        if pieces > FREE_PIECES and size < pieces * PIECE_BYTES:
            raise FetchFailed(f"{self._named} sends the picture in too many small pieces: send the file")


def header(response: httpcore2.Response, name: bytes) -> str:
    """A header's value, several joined by commas, or an empty text. Locations in the wild are UTF-8."""
    found = [value for key, value in response.headers if key.lower() == name]
    return b", ".join(found).decode("utf-8", errors="replace").strip()
