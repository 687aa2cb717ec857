"""Which model replica a request goes to: the one that knows its picture, unless it is much busier than another."""

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from ray.serve._private.request_router import PowerOfTwoChoicesRequestRouter  # Serve's default, public only as a string
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

T = TypeVar("T")

SLACK = 4
"""Requests that a picture's home may have more than the least busy replica: a prefill saved is worth a short wait."""


PASSED_OVER_S = 60.0
"""A replica that hangs is asked nothing for so long; until then its health check has ended it, or it has come back."""


class Hanging:
    """Replicas that were found to hang, as this process knows. For any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._found, self._clock = dict[str, float](), clock

    def add(self, replica: str) -> None:
        self._found = {**self._found, replica: self._clock()}

    def without(self, replicas: Sequence[T], name: Callable[[T], str]) -> list[T]:
        """The others; all of them if there are none."""
        now, found = self._clock(), self._found
        hanging = {replica for replica, at in found.items() if now - at < PASSED_OVER_S}
        return [replica for replica in replicas if name(replica) not in hanging] or list(replicas)


hanging = Hanging()
"""Of this process: whoever calls and the router that finds him a replica are in the same one."""


def home(picture: str, replicas: Sequence[str]) -> str:
    """The replica that questions about ``picture`` go to.

    Rendezvous hashing: when a replica comes or goes, only the pictures that it gains or had move.
    """
    return max(replicas, key=lambda replica: blake2b(f"{picture} {replica}".encode(), digest_size=8).digest())


def is_much_busier(replica: str, queues: Mapping[str, int]) -> bool:
    """Whether ``replica`` has so much more to do than the least busy one of ``queues`` that another should be taken."""
    return queues[replica] > min(queues.values()) + SLACK


class PictureRouter(PowerOfTwoChoicesRequestRouter):  # type: ignore[misc]  # Ray is untyped
    """Requests with a ``session_id``, which is their picture, go home first; all else is the power of two choices.

    A home that is full, or does not answer, is passed over: the ranks after the first are the default router's. Nobody
    goes to one that was found to hang.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        candidate_replicas = hanging.without(candidate_replicas, lambda replica: replica.replica_id.unique_id)
        ranks: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        picture = pending_request.metadata.session_id if pending_request else ""
        if picture and candidate_replicas:
            known: dict[str, Any] = {r.replica_id.unique_id: r for r in candidate_replicas}
            first = home(picture, list(known))
            queues = {name: self._queue(replica.replica_id) for name, replica in known.items()}
            if not is_much_busier(first, queues):
                ranks = [[known[first]], *ranks]
        return ranks

    def _queue(self, replica: ReplicaID) -> int:
        """Requests that the replica is known to have; 0 if nothing has been heard of it lately."""
        return self.replica_queue_len_cache.get(replica) or 0
