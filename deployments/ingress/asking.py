"""A request and what becomes of it, as values: what was asked, what has been got so far, the reply, the record."""

from dataclasses import dataclass
from typing import Literal

from deployments.contract import PUBLIC, Box, Flow, Level, Prepared, Turn, Usage, Verdict
from deployments.ingress.answers.answers import Given
from deployments.ingress.records import Record, Timing
from deployments.ingress.uploads import Upload

OnOverload = Literal["answer", "error"]
HUNG_UP, CANCELLED = 499, "cancelled"
"""Status and code, in records and logs, of a request whose client went away."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A caller's request, as every HTTP surface states it: ``image`` is a file, or the URL of one.

    ``arrived`` is seconds since the epoch: the time until the body was there counts towards the deadline. ``turns`` is
    what was said before the question. ``timeout_s`` is how long the caller waits (None: as long as the service does),
    ``user`` tells the tenant's users apart, ``batch`` is asked by nobody who waits.
    """

    request_id: str
    arrived: float
    image: Upload | str
    text: str
    max_new_tokens: int | None = None
    on_overload: OnOverload = "answer"
    tenant: str = PUBLIC
    turns: tuple[Turn, ...] = ()
    timeout_s: float | None = None
    user: str = ""
    batch: bool = False

    @property
    def flow(self) -> Flow:
        """The line that it stands in."""
        return Flow(self.tenant, self.user, self.batch)

    def deadline(self, most_s: float) -> float:
        """When it is of no use any more: as it says itself, but at most so long after it has arrived."""
        return self.arrived + min(most_s, self.timeout_s or most_s)


NO_USAGE = Usage(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the caller gets. A holding reply has no usage and says when to ask again.

    ``image_size`` is (width, height) of the upright picture, ``tile_boxes`` are (left, top, right, bottom) in it of the
    tiles that the model saw besides the whole. ``flags`` is what safety checks said of the picture.
    """

    request_id: str
    answer: str
    level: Level
    timing_ms: Timing
    model: str
    finish_reason: str | None = None
    usage: Usage = NO_USAGE
    tiles: int = 0
    image_size: tuple[int, int] | None = None
    tile_boxes: tuple[Box, ...] = ()
    flags: tuple[Verdict, ...] = ()
    gpu_memory_mb: int = 0
    cached: bool = False
    retry_after_s: float | None = None


@dataclass(slots=True)
class Work:
    """What has been got so far; the timing of a failure tells how far it came."""

    image: Upload | None = None
    fetch_s: float = 0.0
    prepared: Prepared | None = None
    given: Given | None = None


def record_of(ask: Ask, reply: Reply, work: Work) -> Record:
    prepared = work.prepared
    return Record(
        tenant=ask.tenant,
        request_id=reply.request_id,
        created=ask.arrived,
        status=200,
        model=reply.model,
        timing_ms=reply.timing_ms,
        level=reply.level,
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        tiles=reply.tiles,
        source_format=prepared.source_format if prepared else None,
        source_size=prepared.source_size if prepared else None,
        flags=reply.flags,
        cached=reply.cached,
    )
