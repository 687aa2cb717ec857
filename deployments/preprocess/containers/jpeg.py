"""JPEG: segments (marker, length, body) up to a scan's header, entropy-coded data behind it, perhaps more of both.

Kept are tables, frame and scans, and of the application segments the two that say how colours are stored. Comments,
profiles, thumbnails and second pictures are not.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deployments.preprocess.containers.exif import orientation
from deployments.preprocess.containers.jpeg_scans import PADDING, Precision
from deployments.preprocess.containers.plain import Plain
from deployments.preprocess.containers.transfer import check

START, END, SCAN, JFIF, EXIF, ADOBE = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
HUFFMAN, ARITHMETIC, QUANTIZATION, RESTARTS = 0xC4, 0xCC, 0xDB, 0xDD
FRAMES = frozenset(range(0xC0, 0xD0)) - {HUFFMAN, ARITHMETIC, 0xC8}
KEPT = FRAMES | {SCAN, HUFFMAN, ARITHMETIC, QUANTIZATION, RESTARTS}
ALONE = frozenset((0x01, START, *range(0xD0, 0xD8)))
"""Markers without a length."""

_INSIDE_SCAN = np.isin(np.arange(256), [0x00, 0xFF, *range(0xD0, 0xD8)])
"""What may follow a byte of 0xFF in a scan's data."""

HEADER = 1024
"""More than a scan's header has."""

_MARKER = re.compile(rb"\xff([^\x00\xff])")
Segment = tuple[int, int, int]
"""Marker, and where its body begins and ends; a scan's body is its header and its data."""


def plain(data: bytes) -> Plain:
    """Tables, frame and scans.

    Raises ImageTruncated if the data went through a transfer that changed line ends.
    """
    whole = memoryview(data)
    kept, size, scans, turns = [whole[:2]], 2, list[int](), list[int]()
    precision = Precision()
    for marker, begin, end in _segments(data):
        body = data[begin : min(end, begin + HEADER)] if marker == SCAN else data[begin:end]
        if marker == SCAN:
            check(data, begin, end)
            precision.scan(body)
        elif marker in FRAMES:
            precision.frame(marker, body)
        elif marker == EXIF and not scans and body[:5] == b"Exif\0":
            turns.append(orientation(body[6:]))
        if marker in KEPT or _says_colours(marker, body):
            kept.append(whole[begin - 4 : end])
            size += len(kept[-1])
            scans += [size] if marker == SCAN else []
    return Plain(b"".join([*kept, PADDING]), turns[0] if turns else 1, tuple(scans), precision.whole)


def _segments(data: bytes) -> Iterator[Segment]:
    """Until the end marker, or the end of the file; as libjpeg does, over whatever stands before a marker."""
    at, ends = 2, _ends_of_scans(data)
    while found := _MARKER.search(data, at):
        marker, begin = found[1][0], found.end()
        if marker == END:
            return
        if marker in ALONE:
            at = begin
            continue
        length = max(2, int.from_bytes(data[begin : begin + 2], "big"))
        at = min(begin + length, len(data))
        if marker == SCAN:
            at = _without_fill(data, int(ends[np.searchsorted(ends, at)]))
        yield marker, begin + 2, max(at, begin + 2)


def _ends_of_scans(data: bytes) -> NDArray[np.intp]:
    """Where a scan could end: at any marker but those that stand in its data, and at the end of the file."""
    array = np.frombuffer(data, np.uint8)
    escapes = np.flatnonzero(array[:-1] == 0xFF)
    after = array[escapes + 1]
    ends = escapes[~_INSIDE_SCAN[after]]
    return np.append(ends, len(data))


def _without_fill(data: bytes, end: int) -> int:
    """A marker may have any number of 0xFF in front."""
    while data[end - 1] == 0xFF:
        end -= 1
    return end


def _says_colours(marker: int, body: bytes) -> bool:
    return (marker == JFIF and body[:5] == b"JFIF\0" and len(body) >= 14) or (
        marker == ADOBE and body[:5] == b"Adobe" and len(body) >= 12
    )
