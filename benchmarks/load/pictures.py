"""Questions as requests that can be sent at once: pictures that nobody has seen, encoded before the run.

A picture of the demo families is drawn once and marked in a corner for every request: another picture for every cache,
at a tenth of what drawing one takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks.peers.dialects import MAX_NEW_TOKENS
from benchmarks.peers.questions import JPEG_QUALITY, Asked

BOUNDARY = "tuwen-load"
MARK = 8
"""Side of the mark in pixels: a whole block of a JPEG."""
COLOURS = 16
"""Shades of a channel that survive JPEG."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A request ready to be sent: its body, and what a right answer is."""

    body: bytes
    expected: str
    kind: str
    user: str = ""


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


def shots(asked: Sequence[Asked], count: int, first: int, fields: dict[str, str], users: Sequence[str]) -> list[Shot]:
    """``count`` requests with the questions in turn; ``first`` is the number of the first one's mark.

    Those of one user (empty: nobody's) are not beside each other.
    """
    marker, made = Marker(), list[Shot]()
    for number in range(count):
        one, user = asked[number % len(asked)], users[number % len(users)] if users else ""
        picture = marker.marked(one.file, first + number)
        who = {"user": user} if user else {}
        body = form(picture, Path(one.file).name, {"question": one.text, **fields, **who})
        made.append(Shot(body, one.expected, one.kind, user))
    return made


def standard_fields(timeout_s: float | None) -> dict[str, str]:
    """What every request asks for besides its question."""
    fields = {"max_new_tokens": str(MAX_NEW_TOKENS)}
    return fields if timeout_s is None else fields | {"timeout_s": f"{timeout_s:g}"}
