"""What a JPEG's scans tell of its picture: which bits of its coefficients, and whether their data are all there."""

import re
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageFile

from deployments.errors import ImageTruncated
from deployments.preprocess.containers.plain import DAMAGED, Plain

Decoder = Any
"""One of Pillow's own, which its types leave out."""

END_MARKER = b"\xff\xd9"
RESTART_INTERVAL = b"\xff\xdd"
PADDING = b"\0" * 16
"""More than libjpeg looks ahead (8 bytes); less than what would show if it stood for pixels."""

PROBES = (b"\0",) * 16
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
UNKNOWN = 99
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
"""Frames whose coefficients come in several scans."""


@dataclass(slots=True)
class Precision:
    """How many of each coefficient's lowest bits are still to come, by component of the frame."""

    missing: dict[int, list[int]] = field(default_factory=dict)
    progressive: bool = False

    def frame(self, marker: int, body: bytes) -> None:
        """A frame's header: precision, height, width, number of components, then three bytes for each."""
        self.missing = {component: [UNKNOWN] * 64 for component in body[6::3]}
        self.progressive = marker in PROGRESSIVE

    def scan(self, header: bytes) -> None:
        """A scan's header: number of components, two bytes for each, first and last coefficient, bits left out."""
        count = header[0] if header else 0
        if len(header) < 4 + 2 * count:
            return
        # Outside progressive frames the last three mean nothing; some writers leave nonsense there.
        first, last, bits = header[1 + 2 * count : 4 + 2 * count] if self.progressive else (0, 63, 0)
        for component in header[1 : 1 + 2 * count : 2]:
            for coefficient in range(first, min(last, 63) + 1):
                self.missing.setdefault(component, [UNKNOWN] * 64)[coefficient] = bits & 15

    @property
    def whole(self) -> bool:
        """Whether nothing is left out of any component."""
        return bool(self.missing) and not any(map(any, self.missing.values()))


def load(image: ImageFile.ImageFile, file: Plain) -> None:
    """Decode the pixels of ``image``, which was opened on ``file``.

    libjpeg paints grey what it misses, and warns where nobody hears it. Here it meets no marker before the picture, or
    the scan, is done: if it asks for more than a little padding behind the data, they have ended too early.

    Raises ImageTruncated.
    """
    image.load_prepare()
    [(name, box, _, options)] = image.tile
    decoder = Image._getdecoder(image.mode, name, options, image.decoderconfig)
    try:
        decoder.setimage(image.im, box)
        if not (file.closed and _finished(decoder, file)):
            raise ImageTruncated(DAMAGED)
    finally:
        decoder.cleanup()
    image.tile = []


def _finished(decoder: Decoder, file: Plain) -> bool:
    begin, feed = 0, Feed(decoder)
    if len(file.scans) == 1:  # the padding is there already
        feed(memoryview(file.data)[: file.scans[0] + len(PADDING)])
        return feed.finished
    restarts = file.data.find(RESTART_INTERVAL, 0, file.scans[0]) >= 0
    for end in file.scans:
        scan = file.data[begin:end]
        feed(scan + PADDING)
        if not feed.skips(next_restart(scan) if restarts else b""):
            return False
        begin = end
    feed(END_MARKER)  # what makes pictures of several scans
    return feed.finished


def next_restart(scan: bytes) -> bytes:
    """The restart marker that would come next; a decoder that waits for it has not had all of the scan."""
    return bytes((0xFF, 0xD0 + len(_RESTART.findall(scan)) % 8))


class Feed:
    """Bytes into a decoder of Pillow, which takes what it can use of them and of those before."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self.finished = decoder, False
        self._rest: bytes | memoryview = b""

    def __call__(self, data: bytes | memoryview) -> None:
        """Raises ImageTruncated for what it cannot make sense of."""
        if self.finished:
            return
        self._rest = b"".join((self._rest, data)) if self._rest else data
        taken, fault = self._decoder.decode(self._rest)
        if taken < 0 and fault < 0:
            raise ImageTruncated(DAMAGED)
        self.finished, self._rest = taken < 0, self._rest[taken:]

    def skips(self, restart: bytes) -> bool:
        """Whether it skips bytes, given one by one, as where it waits for a marker; inside a scan it collects them."""
        for probe in (restart, *PROBES):
            self(probe)
            if self._rest:
                return False
        return True
