"""Streams that have begun and not ended: each must end, with visible text, before WeCom stops taking its changes."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

LASTS_S = 330.0
"""WeCom takes changes for six minutes after the first frame: half a minute before, the stream is brought to an end."""
REMEMBERED = 4096


@dataclass(slots=True)
class Stream:
    """Of the message with this key: when its first frame went out, and whether its last has.

    ``doubtful``: a frame has gone out of which nobody knows whether it has arrived.
    """

    key: str
    req_id: str
    began_at: float | None = None
    ended: bool = False
    doubtful: bool = False


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
        return key in self._streams and self._streams[key].doubtful

    def expires_at(self, key: str, received_at: float, reply_lasts_s: float) -> float:
        """Until when the message can be answered in its stream."""
        known = self._streams.get(key)
        if known is None or known.began_at is None:
            return received_at + reply_lasts_s
        return known.began_at + LASTS_S if not known.ended else 0.0

    def overdue(self, now: float) -> Iterator[Stream]:
        """Those that must be brought to an end now."""
        for stream in list(self._streams.values()):
            if stream.began_at is not None and not stream.ended and now >= stream.began_at + LASTS_S:
                yield stream
