"""How much larger a picture is than its detail, as a pure function of its pixels.

An enlarged screenshot, or a photo of large type, shows at 3000 pixels what it could show at 1000: to cut it into tiles
would show the model letters larger than it reads them. A picture is ``k`` times too large if nothing is lost when each
block of ``k`` x ``k`` pixels becomes one: if every pixel still lies within what the reduced picture shows around it.
A stroke of less than ``k`` pixels would fade into its ground, and so speaks against it, be it one in the whole picture.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]

FACTORS = (2, 3)
"""Tried one upon the other: of a picture six times too large one finds both."""
FIRST_BAND, BAND = 24, 96
"""Rows looked at at a time, multiples of every factor: most pictures show in the first that they lose something."""

MARGIN = 4
"""Blocks around a band that only help to reduce it: resampling at an edge sees less than within (three blocks)."""

NOISE, SHARE_OF_16 = 8, 6
"""Levels of grey, and part of the contrast around, by which a pixel may differ: grain, and resampling's losses."""

FEW = 3
"""Blocks that may lose something nevertheless: the least letter of a size to be read loses more."""


def spare_factor(image: Image.Image, shortest: int) -> int:
    """The factor by which an RGB picture can be reduced without loss of detail, or 1.

    Its longer side stays at ``shortest`` at least. A picture of one colour has no detail to be measured by.
    """
    factor = _spare(image, shortest)
    flat = factor > 1 and np.ptp(np.asarray(image.convert("L"))) <= NOISE
    return 1 if flat else factor


def _spare(image: Image.Image, shortest: int) -> int:
    if max(image.size) < 2 * shortest or min(image.size) < 8 or _loses(image, 2):
        return 1
    found = [factor for factor in FACTORS if max(image.size) >= factor * shortest]
    kept = [factor for factor in found if factor == 2 or not _loses(image, factor)]
    return max(factor * _spare(_reduced(image, factor), shortest) for factor in kept)


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width // factor, image.height // factor), Image.Resampling.LANCZOS)


def _loses(image: Image.Image, factor: int) -> bool:
    lost = 0
    for band, above, below in _bands(image, factor):
        lost += int(np.count_nonzero(lost_blocks(band, factor)[above:below]))
        if lost > FEW:
            return True
    return False


def _bands(image: Image.Image, factor: int) -> Iterator[tuple[Image.Image, int, int]]:
    """From the top, in grey, each with which of its rows of blocks count; what is left of a block at a side is not."""
    width, height = image.width - image.width % factor, image.height - image.height % factor
    top, rows = 0, FIRST_BAND
    while top < height:
        begin, end = max(0, top - MARGIN * factor), min(height, top + rows + MARGIN * factor)
        above, below = (top - begin) // factor, (min(height, top + rows) - begin) // factor
        yield image.crop((0, begin, width, end)).convert("L"), above, below
        top, rows = top + rows, BAND


def lost_blocks(band: Image.Image, factor: int) -> NDArray[np.bool_]:
    """Which blocks have a pixel outside of what the reduced picture shows around them."""
    grey = np.asarray(band)
    darkest, brightest = _blocks(grey, factor, np.minimum), _blocks(grey, factor, np.maximum)
    smaller = band.resize((band.width // factor, band.height // factor), Image.Resampling.LANCZOS)
    reduced = np.asarray(smaller, dtype=np.int16)
    low, high = _around(reduced, np.minimum), _around(reduced, np.maximum)
    allowed = NOISE + (high - low) * SHARE_OF_16 // 16
    lost: NDArray[np.bool_] = (low - darkest > allowed) | (brightest - high > allowed)
    return lost


def _blocks(values: Grey, factor: int, combine: np.ufunc) -> Grey:
    """One value for each block."""
    rows = combine.reduce([values[start::factor] for start in range(factor)])
    combined: Grey = combine.reduce([rows[:, start::factor] for start in range(factor)])
    return combined


def _around(values: NDArray[np.int16], choose: np.ufunc) -> NDArray[np.int16]:
    """Of each value and its eight neighbours, the one chosen."""
    chosen = values.copy()
    choose(chosen[1:], values[:-1], out=chosen[1:])
    choose(chosen[:-1], values[1:], out=chosen[:-1])
    both = chosen.copy()
    choose(both[:, 1:], chosen[:, :-1], out=both[:, 1:])
    choose(both[:, :-1], chosen[:, 1:], out=both[:, :-1])
    return both
