"""Who is let through, before anything is downloaded, decoded or handed on: by what the model last said of its load."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.contract import Flow
from deployments.errors import Overloaded
from deployments.fairness import FairOrder
from deployments.ingress.fleet import Fleet

MOST_AWAY_S = 30.0
"""Nobody is told to come back later than this."""


class Admission:
    """The requests of one ingress replica on their way, in the order in which the model would serve them."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet, self._clock, self._order = fleet, clock, FairOrder()
        self._shed, self._last_back = 0, 0.0

    def __len__(self) -> int:
        return len(self._order)

    @contextmanager
    def let_through(self, flow: Flow, deadline: float) -> Iterator[None]:
        """Counts the request while the block lasts. Raises Overloaded, with the wait, where it would be in vain."""
        now = self._clock()
        wait_s = self._fleet.wait_s(len(self._order), self._order.ahead(flow), now)
        try:
            self._fleet.demand_time(wait_s, deadline - now)
        except Overloaded as full:
            self._shed += 1
            full.retry_after_s = self._back_in_s(now, wait_s)
            raise
        tag = self._order.enter(flow)
        try:
            yield
        finally:
            self._order.leave(flow, tag)

    def _back_in_s(self, now: float, wait_s: float) -> float:
        """When to ask again: not before the wait is over, and one after the other, as fast as answers are given.

        Told all the same, those turned away together would come back together, and be turned away again.
        """
        self._last_back = min(max(now + wait_s, self._last_back + self._fleet.gap_s), now + MOST_AWAY_S)
        return self._last_back - now

    def take_shed(self) -> int:
        """How many have been turned away since this was last asked: the model is told, for they are demand."""
        shed, self._shed = self._shed, 0
        return shed
