"""Requests that a replica which hangs will never answer: found out by asking it, long before its health check does.

Which replica a request waits at is not known here. But one that lives says something now and then, with every answer;
one that has not since the request began is asked whether it is there at all.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from deployments.errors import Unavailable
from deployments.ingress.fleet import Fleet

T = TypeVar("T")

PATIENCE_S = 4.0
"""So long a request waits before anybody is asked, and again before the next time."""
ONCE_S = 10.0
"""What is found out again so soon is the same, and no reason to give up what was begun since."""
ENDING_S = 1.0
"""What is given up has so long to end."""


class Patience:
    """``answers`` asks a replica, in bounded time, whether it is there."""

    def __init__(self, fleet: Fleet, answers: Callable[[str], Awaitable[bool]], clock: Callable[[], float]) -> None:
        self._fleet, self._answers, self._clock = fleet, answers, clock
        self._hung: dict[str, float] = {}  # and when that was found out

    async def wait(self, work: Awaitable[T], patience_s: float = PATIENCE_S) -> T:
        """What comes of it. Raises Unavailable where a replica has been found to hang meanwhile, perhaps its own."""
        began, task = self._clock(), asyncio.ensure_future(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # whom nobody may wait for any more
        try:
            while not (await asyncio.wait({task}, timeout=patience_s))[0]:
                if await self._hangs(began):
                    raise Unavailable("a replica of the model no longer answers: ask again")
            return task.result()
        finally:
            if task.cancel():
                await asyncio.wait({task}, timeout=ENDING_S)

    async def first(self, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """The same items, of which the first is waited for in this way; the others follow from where it came from."""
        async with aclosing(items):
            try:
                yield await self.wait(anext(items))
            except StopAsyncIteration:
                return
            async for item in items:
                yield item

    async def _hangs(self, since: float) -> bool:
        await asyncio.gather(*(self._look(replica) for replica in self._fleet.silent(since)))
        return any(found >= since for found in self._hung.values())

    async def _look(self, replica: str) -> None:
        if await self._answers(replica):
            return
        now = self._clock()
        # Whoever asked at the same time may have found it out a moment before: that time counts.
        if now - self._hung.get(replica, -math.inf) > ONCE_S:
            self._hung[replica] = now
        self._fleet.forget(replica)
