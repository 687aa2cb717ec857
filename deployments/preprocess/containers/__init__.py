"""What a file needs of itself to show its pixels, format by format: the rest is not even looked at by the decoder.

A profile, a text or a thumbnail can be a bomb, broken, or checksummed wrongly; the picture is none the worse for it.
"""

from collections.abc import Callable

from deployments.errors import ImageTruncated
from deployments.preprocess.containers import jpeg, png, webp
from deployments.preprocess.containers.plain import Plain
from deployments.preprocess.containers.transfer import WENT_AS_TEXT, check, windows_lines


def _gif(data: bytes) -> Plain:
    """As it is: a GIF carries little else. Raises ImageTruncated as the others do."""
    check(data)
    return Plain(data)


def _bmp(data: bytes) -> Plain:
    """As it is; its pixels are not compressed, so that only one longer than it says may have gone as text."""
    if len(data) > int.from_bytes(data[2:6], "little") > 0 and windows_lines(data):
        raise ImageTruncated(WENT_AS_TEXT)
    return Plain(data)


READERS: dict[str, Callable[[bytes], Plain]] = {
    "JPEG": jpeg.plain,
    "PNG": png.plain,
    "WEBP": webp.plain,
    "GIF": _gif,
    "BMP": _bmp,
}


def plain(kind: str | None, data: bytes) -> Plain:
    """The file of that format without what its pixels do not need."""
    reader = READERS.get(kind or "")
    return reader(data) if reader else Plain(data)
