"""Things that a few share in turn, first come, first served; who no longer waits is passed over."""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """For threads and event loops alike: a place in the queue is a future, and leaving it is cancelling that."""

    def __init__(self, things: Iterable[T]) -> None:
        self._free = list(things)  # the last one used has the warmest caches
        self._waiting: deque[Future[T]] = deque()
        self._lock = Lock()

    def take(self) -> Future[T]:
        """One that is free, now or later; whoever gets it gives it back."""
        place: Future[T] = Future()
        with self._lock:
            if self._free:
                place.set_result(self._free.pop())
            else:
                self._waiting.append(place)
        return place

    def leave(self, place: Future[T]) -> None:
        """Wait no longer; what was handed over meanwhile goes to the next."""
        if place.cancel():
            with self._lock:
                if place in self._waiting:
                    self._waiting.remove(place)
        elif not place.cancelled():
            self.give_back(place.result())

    def give_back(self, thing: T) -> None:
        with self._lock:
            while self._waiting:
                place = self._waiting.popleft()
                if place.set_running_or_notify_cancel():
                    place.set_result(thing)
                    return
            self._free.append(thing)

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return len(self._waiting)
