"""What is remembered of each request, for ``/v1/requests/{id}``: how it went, never the picture nor the words."""

from dataclasses import dataclass
from typing import Protocol

from deployments.contract import Level, Usage, Verdict
from deployments.recent import Recent


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a request's time went, in whole milliseconds. ``queue`` is all waiting, transport included."""

    fetch: int
    preprocess: int
    queue: int
    generate: int
    total: int


@dataclass(frozen=True, slots=True)
class Record:
    """One finished request of one ``tenant``, to whom alone it is shown.

    ``error`` is a failure's code; ``created`` is when the request arrived, in seconds since the epoch.
    """

    tenant: str
    request_id: str
    created: float
    status: int
    model: str
    timing_ms: Timing
    level: Level | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    tiles: int = 0
    source_format: str | None = None
    source_size: tuple[int, int] | None = None
    flags: tuple[Verdict, ...] = ()
    cached: bool = False
    error: str | None = None


class RecordStore(Protocol):
    """Records by tenant and id: both are the caller's to choose, and neither reads nor replaces another tenant's."""

    async def put(self, record: Record) -> None: ...

    async def get(self, tenant: str, request_id: str) -> Record | None: ...


class MemoryRecords:
    """The newest records of this process, so many and so many bytes at most; the oldest makes room for the next."""

    def __init__(self, capacity: int, most_bytes: int = 32 * 2**20) -> None:
        self._records: Recent[tuple[str, str], Record] = Recent(capacity, most_bytes)

    async def put(self, record: Record) -> None:
        self._records.put((record.tenant, record.request_id), record)

    async def get(self, tenant: str, request_id: str) -> Record | None:
        return self._records.peek((tenant, request_id))
