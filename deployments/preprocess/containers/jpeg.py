"""JPEG: segments (marker, length, body) up to a scan's header, entropy-coded data behind it, perhaps more of both.

Kept are tables, frame and scans, and of the application segments the two that say how colours are stored. Comments,
profiles, thumbnails and second pictures are not.
"""

import re
from collections.abc import Iterator

from deployments.errors import ImageTruncated
from deployments.preprocess.containers.exif import orientation
from deployments.preprocess.containers.jpeg_scans import Precision
from deployments.preprocess.containers.plain import Plain
from deployments.preprocess.containers.transfer import WENT_AS_TEXT, went_as_text

START, END, SCAN, JFIF, EXIF, ADOBE = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
HUFFMAN, ARITHMETIC, QUANTIZATION, RESTARTS = 0xC4, 0xCC, 0xDB, 0xDD
FRAMES = frozenset(range(0xC0, 0xD0)) - {HUFFMAN, ARITHMETIC, 0xC8}
KEPT = FRAMES | {SCAN, HUFFMAN, ARITHMETIC, QUANTIZATION, RESTARTS}
ALONE = frozenset((0x01, START, END, *range(0xD0, 0xD8)))
"""Markers without a length."""

_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")

Segment = tuple[int, int, int]
"""Marker, and where its body begins and ends; a scan's data are no part of its body."""


def plain(data: bytes) -> Plain:
    """Tables, frame and scans.

    Raises ImageTruncated if the data went through a transfer that changed line ends.
    """
    kept, turns, precision = bytearray(data[:2]), list[int](), Precision()
    scans = list[int]()
    for marker, begin, end in _segments(data):
        body = data[begin:end]
        if marker == SCAN:
            end = _end_of_scan(data, end)
            _check_transfer(data[begin:end])
            precision.scan(body)
        elif marker in FRAMES:
            precision.frame(marker, body)
        elif marker == EXIF and not scans and body[:5] == b"Exif\0":
            turns.append(orientation(body[6:]))
        if marker in KEPT or _says_colours(marker, body):
            kept += memoryview(data)[begin - 4 : end]
            scans += [len(kept)] if marker == SCAN else []
    return Plain(bytes(kept), turns[0] if turns else 1, tuple(scans), precision.whole)


def _segments(data: bytes) -> Iterator[Segment]:
    """Until the end marker, or the end of the file; as libjpeg does, over whatever stands before a marker."""
    at = 2
    while found := _MARKER.search(data, at):
        marker, begin = found[1][0], found.end()
        if marker in ALONE:
            yield marker, begin, begin
            if marker == END:
                return
            at = begin
            continue
        length = max(2, int.from_bytes(data[begin : begin + 2], "big"))
        at = min(begin + length, len(data))
        yield marker, begin + 2, max(at, begin + 2)
        if marker == SCAN:
            at = _end_of_scan(data, at)


def _end_of_scan(data: bytes, begin: int) -> int:
    """Where the marker stands that ends the entropy-coded data, which themselves may hold restart markers."""
    found = _AFTER_SCAN.search(data, begin)
    return found.start() if found else len(data)


def _says_colours(marker: int, body: bytes) -> bool:
    return (marker == JFIF and body[:5] == b"JFIF\0" and len(body) >= 14) or (
        marker == ADOBE and body[:5] == b"Adobe" and len(body) >= 12
    )


def _check_transfer(scan: bytes) -> None:
    if went_as_text(scan):
        raise ImageTruncated(WENT_AS_TEXT)
