"""Whether compressed data went through a transfer that took them for text and changed their line ends."""

import re

from deployments.errors import ImageTruncated

WENT_AS_TEXT = "the picture is damaged, as by a transfer that changed its line ends as in a text: send the file again"

HEAD = 256 * 1024
"""Of the data: enough to tell."""

ENOUGH_LINES, VARIETY = 16, 8
LONG = 8 * 1024
"""So long that random data hold every byte (32 of each are expected); and, below, every pair of bytes (24 of each)."""

LONG_FOR_PAIRS = 1536 * 1024

_LONE_FEED = re.compile(rb"(?<!\r)\n")


def check(data: bytes, begin: int = 0, end: int | None = None) -> None:
    """Raises ImageTruncated if the data from ``begin`` to ``end`` did."""
    if went_as_text(data, begin, len(data) if end is None else end):
        raise ImageTruncated(WENT_AS_TEXT)


def went_as_text(data: bytes, begin: int, end: int) -> bool:
    """True if line ends there, in data as good as random, are all of one kind as in a text.

    Repetitive data (those of a blank page) may look like that, so what surrounds the line ends must vary.
    """
    head = data[begin : min(end, begin + HEAD)]
    if windows_lines(head):
        return True
    one_kind = b"\n" not in head or b"\r" not in head
    if end - begin >= LONG_FOR_PAIRS and data.find(b"\r\n", begin, end) < 0:
        one_kind = True
    return len(head) >= LONG and one_kind and len(set(head)) >= 254


def windows_lines(data: bytes) -> bool:
    """Whether every line feed, of which there are some, follows a carriage return."""
    if _LONE_FEED.search(data) or data.count(b"\n") < ENOUGH_LINES:
        return False
    return len({piece[:1] for piece in data.split(b"\r\n", 1000)}) >= VARIETY
