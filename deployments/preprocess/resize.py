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

    The longer side is at most ``longest_edge``, unless the area would then be under ``min_pixels``.
    """
    scale = min(1.0, longest_edge / max(width, height))
    wide, tall = width * scale, height * scale
    if min(wide, tall) < CELL:  # enlarge a thin picture as far as its longer side allows
        grow = min(CELL / min(wide, tall), longest_edge / max(wide, tall))
        wide, tall = wide * grow, tall * grow
    most = max(1, longest_edge // CELL)
    columns, rows = (min(max(1, round(side / CELL)), most) for side in (wide, tall))
    if columns * rows * CELL * CELL < min_pixels:
        grow = math.sqrt(min_pixels / (wide * tall))
        columns, rows = math.ceil(wide * grow / CELL), math.ceil(tall * grow / CELL)
    return columns * CELL, rows * CELL


def resized(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Pixels:
    """The ``box`` of an RGB picture at (width, height) ``size``, as uint8 (height, width, 3)."""
    wide, tall = box[2] - box[0], box[3] - box[1]
    if box == (0, 0, *image.size) and image.size == size:
        return np.asarray(image, dtype=np.uint8)
    # Averaging by a whole factor first is quicker; the gap of 3 keeps the result visually equal to plain bicubic.
    gap = 3.0 if min(wide / size[0], tall / size[1]) > 3 else None
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=gap), dtype=np.uint8)
