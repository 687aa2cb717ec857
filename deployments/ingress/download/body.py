"""A response's body as it arrives: its bytes are counted, and held in a budget of memory."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, aclosing, nullcontext
from typing import Protocol

import httpcore2

from deployments.errors import FetchFailed, ImageTooLarge

STEP_BYTES = 1024 * 1024
FREE_PIECES, PIECE_BYTES = 1_000, 128
"""Each piece of a body costs time on the loop, however short: after the first ones they must average this length."""


class Budget(Protocol):
    """Memory that all requests of this process share."""

    def hold(self, size: int) -> AbstractAsyncContextManager[None]:
        """Waits until so many bytes are free, and keeps them from others while it lasts."""
        ...


class Unlimited:
    def hold(self, size: int) -> AbstractAsyncContextManager[None]:
        return nullcontext()


class Body:
    """The body of one response from the host ``named``; raises ImageTooLarge when it says that it is."""

    def __init__(self, response: httpcore2.Response, named: str, max_bytes: int) -> None:
        self._response, self._named, self._max_bytes = response, named, max_bytes
        self._announced = int(header(response, b"content-length") or 0)
        self._check_size(self._announced)

    async def read(self, budget: Budget, in_queue: Callable[[], AbstractContextManager[None]]) -> bytes:
        """All of it, whose bytes the budget holds while they arrive; whoever waits for some does so ``in_queue``."""
        pieces, size, held = [], 0, 0
        async with AsyncExitStack() as holds, aclosing(self._response.aiter_stream()) as arriving:
            async for piece in arriving:
                pieces.append(piece)
                size += len(piece)
                self._check_size(size)
                self._check_pieces(len(pieces), size)
                while size > held:
                    step = self._step(held)
                    with in_queue():
                        await holds.enter_async_context(budget.hold(step))
                    held += step
            return b"".join(pieces)

    def _step(self, held: int) -> int:
        """What to hold next. Not all that was announced: a host that announces much and sends little would have it."""
        return min(STEP_BYTES, max(self._announced - held, 0) or self._max_bytes - held)

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
