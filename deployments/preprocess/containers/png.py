"""PNG: a signature and chunks (length, kind, body, checksum), of which the pixels need four kinds.

``tRNS`` and ``eXIf`` count as libpng has it: with a right checksum, and before the image data.
"""

import struct
import zlib
from collections.abc import Iterator

from deployments.errors import UnsupportedFormat
from deployments.preprocess.containers.exif import orientation
from deployments.preprocess.containers.plain import Plain

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
LONGEST_EXIF = 64 * 1024
_TRANSPARENT_BYTES = {0: (2,), 2: (6,), 3: range(1, 257)}
"""Length of ``tRNS`` by colour type: grey, RGB, palette."""

Chunk = tuple[bytes, int, int]
"""Kind, where the body begins, and where it ends (at most where the file does)."""


def plain(data: bytes) -> Plain:
    """Header, palette, transparency and all image data in one chunk.

    Raises UnsupportedFormat for a file that says one cannot show it without a chunk that is not of the standard.
    """
    view, head, pixels, turn = memoryview(data), bytearray(SIGNATURE), bytearray(), 1
    for kind, begin, end in _chunks(data):
        body = view[begin:end]
        if kind == b"IDAT":
            pixels += body
        elif kind in (b"IHDR", b"PLTE"):
            head += view[begin - 8 : end + 4]  # whose checksum the decoder looks at
        elif kind[0] & 0x20 == 0:
            raise UnsupportedFormat(f"the PNG needs an extension ({kind.decode()}): save it as a plain PNG or JPEG")
        elif not pixels and kind == b"tRNS" and _fits(head, len(body)) and _sound(data, kind, begin, end):
            head += view[begin - 8 : end + 4]
        elif not pixels and kind == b"eXIf" and _sound(data, kind, begin, end):
            turn = orientation(bytes(body[:LONGEST_EXIF]))
    image_data = struct.pack(">I4s", len(pixels), b"IDAT") + pixels + struct.pack(">I", 0) if pixels else b""
    return Plain(bytes(head) + image_data + END, turn)


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Until the end, or until what follows is none."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND" or not kind.isalpha():
            return
        yield kind, at + 8, min(at + 8 + length, len(data))
        at += 12 + length


def _sound(data: bytes, kind: bytes, begin: int, end: int) -> bool:
    """Whether the chunk's checksum is right."""
    return data[end : end + 4] == struct.pack(">I", zlib.crc32(memoryview(data)[begin:end], zlib.crc32(kind)))


def _fits(head: bytearray, length: int) -> bool:
    """Whether a ``tRNS`` of that length belongs to a picture of the header's colour type."""
    colour_type = head[25] if len(head) > 25 else None
    return length in _TRANSPARENT_BYTES.get(colour_type if colour_type is not None else -1, ())
