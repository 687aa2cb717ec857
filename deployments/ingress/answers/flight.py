"""Single flight: callers who want the same thing at the same time share one computation of it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Flight(Generic[V]):
    """One computation in its own task, so that it outlives whichever caller began it, and who waits for it."""

    task: asyncio.Task[V]
    aboard: int = 0


class Flights(Generic[K, V]):
    """The computations in progress, one per key. ``len()`` says how many."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, compute: Callable[[], Awaitable[V]]) -> tuple[V, bool]:
        """The value, and whether another caller's computation gave it. Raises only what the caller's own one raised.

        Of callers whose leader failed one leads anew, with its own ``compute``, and the others follow that one; each
        runs its own at most once. A caller who is cancelled leaves without harm to the others; when the last one
        leaves, the computation is cancelled and its end awaited. A bound on the wait is ``asyncio.timeout`` around.
        """
        while True:
            flight, leads = self._boarded(key, compute)
            try:
                await asyncio.wait([flight.task])
            finally:
                await self._left(key, flight)
            if leads:
                return flight.task.result(), False
            if not flight.task.cancelled() and flight.task.exception() is None:
                return flight.task.result(), True

    def __len__(self) -> int:
        return len(self._flights)

    def _boarded(self, key: K, compute: Callable[[], Awaitable[V]]) -> tuple[_Flight[V], bool]:
        """The flight for this key, and whether this caller has begun it."""
        flight = self._flights.get(key)
        if leads := flight is None:
            task = asyncio.create_task(_awaited(compute))
            task.add_done_callback(_retrieve)
            flight = self._flights[key] = _Flight(task)
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


async def _awaited(compute: Callable[[], Awaitable[V]]) -> V:
    return await compute()


def _retrieve(task: asyncio.Task[V]) -> None:
    """Marks a failure as seen: with everybody gone nobody is left to read it."""
    if not task.cancelled():
        task.exception()
