"""WebP: a RIFF file of chunks (kind, length, body, filled to an even length), of which the first picture is kept.

Its own size in the header is not looked at: it is wrong in files that are whole. EXIF does not turn a WebP in Chromium.
"""

import struct
from collections.abc import Iterator

from deployments.preprocess.containers.plain import Plain
from deployments.preprocess.containers.transfer import check

HEADER_BYTES = 12
METADATA_FLAGS = 0x20 | 0x08 | 0x04
"""Of ``VP8X``: a profile, EXIF and XMP follow."""

_NEEDED = (b"VP8X", b"ALPH", b"ANIM")
_PICTURES = (b"VP8 ", b"VP8L", b"ANMF")


def plain(data: bytes) -> Plain:
    """The first picture, or first frame, with its transparency.

    Raises ImageTruncated if its data went through a transfer that changed line ends.
    """
    body = bytearray(b"WEBP")
    for kind, begin, end in _chunks(data):
        if kind == b"VP8X" and end - begin >= 10:
            flags = struct.pack("<I", struct.unpack_from("<I", data, begin)[0] & ~METADATA_FLAGS)
            body += data[begin - 8 : begin] + flags + data[begin + 4 : end]
        elif kind in _NEEDED + _PICTURES:
            body += memoryview(data)[begin - 8 : end]
            body += b"\0" * ((end - begin) % 2)
        if kind in _PICTURES:
            check(data[begin:end])
            break
    return Plain(b"RIFF" + struct.pack("<I", len(body)) + bytes(body))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning and end of each body; the last one's end may be the file's, before its own."""
    at = HEADER_BYTES
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, at + 8, min(at + 8 + length, len(data))
        at += 8 + length + length % 2
