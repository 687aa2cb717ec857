"""What a demo picture is, and which seeds belong to training and which to evaluation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from random import Random

import numpy as np
from numpy.typing import NDArray

from demo.canvas import Glyph

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn picture with everything that is known about it.

    ``pixels`` are uint8 RGB (height, width, 3); ``lines`` its text from top to bottom; ``values`` what each field that
    it shows says; ``difficulty`` is easy, medium or hard; ``damage`` what was done to it after drawing.
    """

    family: str
    pixels: NDArray[np.uint8]
    glyphs: tuple[Glyph, ...]
    lines: tuple[str, ...]
    values: Mapping[str, str]
    difficulty: str = "easy"
    damage: str = "none"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its one exact answer, and its kind (a field's key, ``absent``, ``transcription``, …).

    ``after`` is a drawn text that the answer follows, where the answer alone may stand in several places.
    """

    text: str
    answer: str
    kind: str
    after: str = ""


def is_held_out(family: str, seed: int) -> bool:
    """Whether a seed belongs to evaluation: one in ten, by hash, so that no picture can be on both sides."""
    return blake2b(f"{family}:{seed}".encode(), digest_size=8).digest()[0] % 10 == 0


def seeds(family: str, start: int, held_out: bool) -> Iterator[int]:
    """The seeds of one side of the split from ``start`` upwards."""
    return (seed for seed in count(start) if is_held_out(family, seed) == held_out)


def rng_of(family: str, seed: int) -> Random:
    """The randomness that a picture and its questions are drawn from."""
    return Random(f"{family}:{seed}")
