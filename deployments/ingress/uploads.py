"""Pictures on their way: on disk above a size until it is their turn to be in memory, which is bounded in bytes."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from tempfile import SpooledTemporaryFile

SPOOL_BYTES = 256 * 1024
"""A smaller picture stays in memory: a screenshot is not worth a file."""

PIECE_BYTES = 1024 * 1024


class Upload:
    """A picture that has arrived whole. Read it under a ``ByteBudget``; ``close`` gives its file back."""

    def __init__(self, file: "SpooledTemporaryFile[bytes]") -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._digest = ""

    @classmethod
    def of(cls, data: bytes) -> "Upload":
        file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  # closed by its owner
        file.write(data)
        return cls(file)

    async def read(self) -> bytes:
        """All of it; off the event loop where it comes from disk."""
        return await asyncio.to_thread(self._read) if self.size > SPOOL_BYTES else self._read()

    async def digest(self) -> str:
        """SHA-256 of it in hex, a piece in memory at a time; off the event loop where it comes from disk."""
        if not self._digest:
            self._digest = await asyncio.to_thread(self._hashed) if self.size > SPOOL_BYTES else self._hashed()
        return self._digest

    def close(self) -> None:
        self._file.close()

    def _read(self) -> bytes:
        self._file.seek(0)
        return self._file.read()

    def _hashed(self) -> str:
        self._file.seek(0)
        hashed = sha256()
        while piece := self._file.read(PIECE_BYTES):
            hashed.update(piece)
        return hashed.hexdigest()


class ByteBudget:
    """Bytes that may be in memory at a time, handed out in the order in which they were asked for."""

    def __init__(self, limit: int) -> None:
        self._limit, self.held = limit, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        """A higher one lets in at once who now fits; a lower one takes nothing from who holds."""
        self._limit = limit
        self._hand_out()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Waits until ``size`` more bytes fit, or nobody else holds any; whoever is cancelled leaves the queue."""
        await self._taken(size)
        try:
            yield
        finally:
            self.held -= size
            self._hand_out()

    async def _taken(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self.held += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # handed out in the moment of leaving
                self.held -= size
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
            self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.held += size
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self.held == 0 or self.held + size <= self.limit
