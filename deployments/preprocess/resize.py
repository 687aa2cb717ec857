"""Which size a picture gets for the model, as a pure function, and the resizing itself.

The size is the one that transformers' GLM image processor (``smart_resize``) gives, after limiting the longest edge;
one bicubic resampling leads there, so nothing is resampled twice.
"""

import math

import numpy as np
from PIL import Image

from deployments.contract import CELL, Pixels


def target_size(width: int, height: int, longest_edge: int, min_pixels: int) -> tuple[int, int]:
    """The (width, height) that a picture of that size is resized to: multiples of 28, aspect ratio nearly kept.

    The longer side is at most ``longest_edge`` rounded to the nearest multiple of 28, except where a thin picture must
    be enlarged: no side is under 28, and the area is at least ``min_pixels``.
    """
    scale = min(1.0, longest_edge / max(width, height))
    wide, tall = max(1.0, width * scale), max(1.0, height * scale)
    if min(wide, tall) < CELL:
        grow = CELL / min(wide, tall)
        wide, tall = wide * grow, tall * grow
    if wide > longest_edge or tall > longest_edge:
        # A thin strip: keep its length within the limit and accept that it is stretched to one cell of height.
        wide, tall = min(wide, longest_edge), min(tall, longest_edge)
    cells_wide, cells_tall = max(1, round(wide / CELL)), max(1, round(tall / CELL))
    if cells_wide * cells_tall * CELL * CELL < min_pixels:
        grow = math.sqrt(min_pixels / (wide * tall))
        cells_wide, cells_tall = math.ceil(wide * grow / CELL), math.ceil(tall * grow / CELL)
    return cells_wide * CELL, cells_tall * CELL


def resized(image: Image.Image, size: tuple[int, int]) -> Pixels:
    """The RGB picture at (width, height) ``size`` as uint8 (height, width, 3)."""
    if image.size != size:
        # JPEG decoders can shrink while decoding; the gap of 3 keeps the result visually equal to plain bicubic.
        gap = 3.0 if min(image.width / size[0], image.height / size[1]) > 3 else None
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=gap)
    return np.asarray(image, dtype=np.uint8)
