"""Streams that have begun and not ended: each must end, with visible text, before WeCom stops taking its changes."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

TAKEN_S = 360.0
"""So long after its first frame WeCom takes changes of a stream."""
LASTS_S = TAKEN_S - 30.0
"""Then it is brought to an end."""
REMEMBERED = 4096


@dataclass(slots=True)
class Stream:
    """Of the message with this key: when its first frame went out, and whether its last has.

    ``unconfirmed`` counts last frames of which nobody knows whether they have arrived. Who sends holds ``turn``.
    """

    key: str
    req_id: str
    began_at: float | None = None
    ended: bool = False
    unconfirmed: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class OpenStreams:
    """The newest messages' streams; what a crash forgets, the stream's own id finds again."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, Stream] = OrderedDict()

    def came(self, key: str, req_id: str) -> None:
        """A message, for the first time or again: then only the newest request id can be answered."""
        known = self._streams.pop(key, None) or Stream(key, req_id)
        known.req_id = req_id
        self._streams[key] = known
        while len(self._streams) > REMEMBERED:
            self._streams.popitem(last=False)

    def of(self, key: str, req_id: str) -> Stream:
        """The message's stream; ``req_id`` where nothing newer is known."""
        if key not in self._streams:
            self.came(key, req_id)
        return self._streams[key]

    def is_doubtful(self, key: str) -> bool:
        return key in self._streams and self._streams[key].unconfirmed > 0

    def expires_at(self, key: str, received_at: float, reply_lasts_s: float) -> float:
        """Until when the message can be answered in its stream."""
        known = self._streams.get(key)
        if known is None or known.began_at is None:
            return received_at + reply_lasts_s
        return known.began_at + LASTS_S if not known.ended else 0.0

    def is_over(self, stream: Stream, now: float) -> bool:
        """Whether WeCom takes no change of it any more."""
        return stream.began_at is not None and now >= stream.began_at + TAKEN_S

    def overdue(self, now: float) -> Iterator[Stream]:
        """Those that must be brought to an end now."""
        for stream in list(self._streams.values()):
            if stream.began_at is not None and not stream.ended and now >= stream.began_at + LASTS_S:
                yield stream
