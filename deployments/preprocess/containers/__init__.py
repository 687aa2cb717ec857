"""What a file needs of itself to show its pixels, format by format: the rest is not even looked at by the decoder.

A profile, a text or a thumbnail can be a bomb, broken, or checksummed wrongly; the picture is none the worse for it.
"""

from collections.abc import Callable

from deployments.preprocess.containers import jpeg, png, webp
from deployments.preprocess.containers.plain import Plain

READERS: dict[str, Callable[[bytes], Plain]] = {"JPEG": jpeg.plain, "PNG": png.plain, "WEBP": webp.plain}


def plain(kind: str | None, data: bytes) -> Plain:
    """The file of that format without what its pixels do not need; formats that carry little else stay as they are."""
    reader = READERS.get(kind or "")
    return reader(data) if reader else Plain(data)
