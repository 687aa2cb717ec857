"""How much larger a picture is than its detail, as a pure function of its pixels.

An enlarged screenshot, or a photo of large type, shows at 3000 pixels what it could show at 1000: to cut it into tiles
would show the model letters larger than it reads them. A picture is ``k`` times too large if nothing is lost when each
block of ``k`` x ``k`` pixels becomes one: if every pixel still lies within what the reduced picture shows around it.
A stroke of less than ``k`` pixels would fade into its ground, and so speaks against it, be it one in the whole picture.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]

FACTORS = (2, 3, 4, 5, 6, 8)
BAND = 240
"""Rows looked at at a time, a multiple of every factor: most pictures show in the first that they lose something."""

NOISE, SHARE_OF_16 = 8, 7
"""Levels of grey, and part of the contrast around, by which a pixel may differ: grain, and what resampling rounds off."""

FEW = 12
"""Blocks that may lose something nevertheless; a few letters have more."""


def spare_factor(image: Image.Image) -> int:
    """The largest of ``FACTORS`` by which an RGB picture can be reduced without loss of detail, or 1."""
    factor = 1
    for candidate in FACTORS:
        if _loses(image, candidate):
            if candidate == FACTORS[0]:
                break
        else:
            factor = candidate
    return factor


def _loses(image: Image.Image, factor: int) -> bool:
    lost = 0
    for band in _bands(image, factor):
        lost += lost_blocks(band, factor)
        if lost > FEW:
            return True
    return False


def _bands(image: Image.Image, factor: int) -> Iterator[Grey]:
    """From the top, in grey, each with a block more above and below; what is left of a block at the sides is not."""
    width, height = image.width - image.width % factor, image.height - image.height % factor
    for top in range(0, height, BAND):
        box = (0, max(0, top - factor), width, min(height, top + BAND + factor))
        yield np.asarray(image.crop(box).convert("L"))


def lost_blocks(grey: Grey, factor: int) -> int:
    """How many blocks have a pixel outside of what the reduced picture shows around them."""
    darkest, brightest = _blocks(grey, factor, np.minimum), _blocks(grey, factor, np.maximum)
    reduced = (_blocks(grey.astype(np.uint16), factor, np.add) // factor**2).astype(np.int16)
    low, high = _around(reduced, np.minimum), _around(reduced, np.maximum)
    allowed = NOISE + (high - low) * SHARE_OF_16 // 16
    return int(np.count_nonzero((low - darkest > allowed) | (brightest - high > allowed)))


def _blocks(values: NDArray[Any], factor: int, combine: np.ufunc) -> NDArray[Any]:
    """One value for each block."""
    rows = combine.reduce([values[start::factor] for start in range(factor)])
    combined: NDArray[Any] = combine.reduce([rows[:, start::factor] for start in range(factor)])
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
