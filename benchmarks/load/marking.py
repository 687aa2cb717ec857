"""Pictures with a mark in a corner, so that each is new to every cache, and the forms that carry them.

Nothing but Pillow: a load generator of whatever kind can import it.
"""

from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image

BOUNDARY = "tuwen-load"
JPEG_QUALITY = 90
MARK = 8
"""Side of the mark in pixels: a whole block of a JPEG."""
COLOURS = 16
"""Shades of a channel that survive JPEG."""


@dataclass(slots=True)
class Marker:
    """Gives pictures of files with a mark of their own; each file is decoded once."""

    _opened: dict[str, Image.Image] = field(default_factory=dict)

    def marked(self, file: str, number: int) -> bytes:
        """The picture with mark ``number``, as a file of its own kind."""
        if file not in self._opened:
            self._opened[file] = Image.open(file).convert("RGB")
        picture, encoded = self._opened[file].copy(), BytesIO()
        for place, colour in enumerate(colours(number)):
            left = place * MARK
            picture.paste(colour, (left, 0, left + MARK, MARK))
        kind = "JPEG" if file.endswith(".jpg") else "PNG"
        picture.save(encoded, kind, quality=JPEG_QUALITY, compress_level=1)
        return encoded.getvalue()


def colours(number: int) -> list[tuple[int, int, int]]:
    """Two colours that tell ``number`` from any other below sixteen million, far enough apart for JPEG."""
    shades = [(number // COLOURS**place % COLOURS) * 255 // (COLOURS - 1) for place in range(6)]
    return [(shades[0], shades[1], shades[2]), (shades[3], shades[4], shades[5])]


def form(picture: bytes, name: str, fields: dict[str, str]) -> bytes:
    """A multipart body."""
    parts = [_part(f'name="{key}"', value.encode()) for key, value in fields.items()]
    parts.append(_part(f'name="image"; filename="{name}"', picture))
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _part(disposition: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
