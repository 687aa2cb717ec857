"""Single flight: callers who want the same thing at the same time share one computation of it, and what it says."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from copy import copy
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Say = Callable[[str], None]


class BrokenOff(Exception):
    """What had been heard of a computation that failed is not how the next one begins."""


@dataclass(slots=True)
class _Flight(Generic[V]):
    """One computation in its own task, so that it outlives whichever caller began it, and who waits for it.

    ``said`` is the text that it has told so far; ``news`` is set, and another one takes its place, when there is more.
    """

    task: asyncio.Task[V] = field(init=False)
    aboard: int = 0
    said: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, text: str) -> None:
        self.said.append(text)
        self._wake()

    def landed(self, task: asyncio.Task[V]) -> None:
        """The task is done; its failure counts as seen, for with everybody gone nobody is left to read it."""
        if not task.cancelled():
            task.exception()
        self._wake()

    async def text(self, place: int) -> str | None:
        """The piece of text at this place as soon as it is there; None if none comes any more."""
        while place >= len(self.said):
            if self.task.done():
                return None
            await self.news.wait()
        return self.said[place]

    def _wake(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


class Flights(Generic[K, V]):
    """The computations in progress, one per key. ``len()`` says how many.

    A failure of a kind that is ``shared`` is everybody's: it lies in what was asked, and would come again. Any other
    one is its caller's own.
    """

    def __init__(self, shared: tuple[type[Exception], ...] = ()) -> None:
        self._shared = shared
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, compute: Callable[[], Awaitable[V]]) -> tuple[V, bool]:
        """The value, and whether another caller's computation gave it.

        Raises only what the caller's own one raised, or what is shared. Of callers whose leader failed one leads anew,
        with its own ``compute``, and the others follow that one; each runs its own at most once. A caller who is
        cancelled leaves without harm to the others; when the last one leaves, the computation is cancelled and its end
        awaited. A bound on the wait is ``asyncio.timeout`` around.
        """
        while True:
            flight, leads = self._boarded(key, lambda _: compute())
            try:
                await asyncio.wait([flight.task])
            finally:
                await self._left(key, flight)
            if self._gave(flight, leads):
                return flight.task.result(), not leads

    async def follow(self, key: K, compute: Callable[[Say], Awaitable[V]]) -> AsyncGenerator[str | tuple[V, bool]]:
        """What the computation has said so far and says from now on, then what ``run`` gives, with which it is shared.

        A computation that follows a failed one is heard from where that one was: raises BrokenOff if it says something
        else up to there.
        """
        heard = ""
        while True:
            flight, leads = self._boarded(key, compute)
            place, behind = 0, heard
            try:
                while (text := await flight.text(place)) is not None:
                    place, known = place + 1, min(len(text), len(behind))
                    if text[:known] != behind[:known]:
                        raise BrokenOff
                    behind = behind[known:]
                    if new := text[known:]:
                        heard += new
                        yield new
            finally:
                await self._left(key, flight)
            if self._gave(flight, leads):
                yield flight.task.result(), not leads
                return

    def __len__(self) -> int:
        return len(self._flights)

    def _gave(self, flight: _Flight[V], leads: bool) -> bool:
        """Whether there is a value for the caller. Raises what the computation failed with, if that is the caller's."""
        fault = None if flight.task.cancelled() else flight.task.exception()
        if not leads and isinstance(fault, self._shared):
            raise copy(fault)  # one error raised to many would collect the tracebacks of all
        if leads:
            flight.task.result()
        return not flight.task.cancelled() and fault is None

    def _boarded(self, key: K, compute: Callable[[Say], Awaitable[V]]) -> tuple[_Flight[V], bool]:
        """The flight for this key, and whether this caller has begun it."""
        flight = self._flights.get(key)
        if leads := flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.create_task(_awaited(compute, flight.say))
            flight.task.add_done_callback(flight.landed)
        flight.aboard += 1
        return flight, leads

    async def _left(self, key: K, flight: _Flight[V]) -> None:
        flight.aboard -= 1
        done = flight.task.done()
        if (done or not flight.aboard) and self._flights.get(key) is flight:
            del self._flights[key]
        if not done and not flight.aboard:
            flight.task.cancel()
            await asyncio.wait([flight.task])


async def _awaited(compute: Callable[[Say], Awaitable[V]], say: Say) -> V:
    return await compute(say)
