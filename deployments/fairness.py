"""Whose turn it is: start-time order among tenants and their users, in which none can take another's share.

Self-clocked fair queueing (Golestani, INFOCOM 1994): a request's tag is one step after the later of its flow's last tag
and the smallest tag in the system; the smallest is served first. A flow that sends ten times as much as the others
stands behind itself, and one that has been silent comes next, but is owed nothing for its silence.
"""

from bisect import bisect_left, insort
from collections import Counter

from deployments.contract import Flow


class FairOrder:
    """Tags of what is in the system; ``enter`` and ``leave`` are called once for each request."""

    def __init__(self) -> None:
        self._now = 0.0
        self._tags: list[float] = []
        self._last: dict[Flow, float] = {}
        self._held: Counter[Flow] = Counter()
        self._flows_of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._tags)

    def tag(self, flow: Flow) -> float:
        """What the flow's next request would get. A tenant's users share what one tenant has."""
        others = self._flows_of[flow.tenant] - (flow in self._held)
        return max(self._now, self._last.get(flow, 0.0)) + (1 + others) / flow.weight

    def ahead(self, flow: Flow) -> int:
        """How many would be served before it."""
        return bisect_left(self._tags, self.tag(flow))

    def enter(self, flow: Flow) -> float:
        """The request's tag, by which it is to be ordered."""
        tag = self._last[flow] = self.tag(flow)
        if not self._held[flow]:
            self._flows_of[flow.tenant] += 1
        self._held[flow] += 1
        insort(self._tags, tag)
        return tag

    def leave(self, flow: Flow, tag: float) -> None:
        """It is being served, or has gone."""
        del self._tags[bisect_left(self._tags, tag)]
        self._now = max(self._now, self._tags[0] if self._tags else tag)
        self._held[flow] -= 1
        if not self._held[flow]:
            del self._held[flow], self._last[flow]
            self._flows_of[flow.tenant] -= 1
            if not self._flows_of[flow.tenant]:
                del self._flows_of[flow.tenant]
