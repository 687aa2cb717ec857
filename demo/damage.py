"""What happens to a waybill between the printer and the chat: blur, tilt, glare, low contrast, JPEG artefacts.

Each kind takes pixels and glyphs and gives both back, so that the glyphs still say where the characters are.
"""

import math
from collections.abc import Callable, Mapping
from io import BytesIO
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from demo.canvas import Colour, Glyph

Pixels = NDArray[np.uint8]
Damaged = tuple[Pixels, tuple[Glyph, ...]]

MOST_TILT = 8.0
"""Degrees, to either side."""


def blur(pixels: Pixels, glyphs: tuple[Glyph, ...], rng: Random, _desk: Colour) -> Damaged:
    """Out of focus: Gaussian of 0.6 to 1.4 px."""
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.4)))
    return np.asarray(image), glyphs


def tilt(pixels: Pixels, glyphs: tuple[Glyph, ...], rng: Random, desk: Colour) -> Damaged:
    """Turned by 2 to ``MOST_TILT`` degrees to either side; what comes in from outside is the desk."""
    degrees = rng.choice((-1, 1)) * rng.uniform(2, MOST_TILT)
    image = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=desk)
    return np.asarray(image), turned(glyphs, pixels.shape[1] / 2, pixels.shape[0] / 2, degrees)


def turned(glyphs: tuple[Glyph, ...], middle_x: float, middle_y: float, degrees: float) -> tuple[Glyph, ...]:
    """Where the glyphs are after Pillow has turned the picture counter-clockwise about its middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def at(glyph: Glyph) -> Glyph:
        x, y = glyph.x - middle_x, glyph.y - middle_y
        return Glyph(glyph.character, middle_x + x * cos + y * sin, middle_y - x * sin + y * cos)

    return tuple(map(at, glyphs))


def glare(pixels: Pixels, glyphs: tuple[Glyph, ...], rng: Random, _desk: Colour) -> Damaged:
    """A lamp's reflection: a soft ellipse of up to 70 % white."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across, tall = rng.uniform(0.15, 0.35) * width, rng.uniform(0.15, 0.35) * height
    distance = ((x - rng.uniform(0.1, 0.9) * width) / across) ** 2 + ((y - rng.uniform(0.1, 0.9) * height) / tall) ** 2
    white = (rng.uniform(0.45, 0.7) * np.exp(-distance))[..., None]
    return (pixels * (1 - white) + 255 * white).astype(np.uint8), glyphs


def low_contrast(pixels: Pixels, glyphs: tuple[Glyph, ...], rng: Random, _desk: Colour) -> Damaged:
    """Faded thermal print or poor light: contrast down to 25 to 45 %, brightness somewhere."""
    keep, level = rng.uniform(0.25, 0.45), rng.uniform(90, 190)
    return (pixels * keep + level * (1 - keep)).astype(np.uint8), glyphs


def jpeg(pixels: Pixels, glyphs: tuple[Glyph, ...], rng: Random, _desk: Colour) -> Damaged:
    """Sent through a chat that compresses: JPEG of quality 12 to 35."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=rng.randint(12, 35))
    return np.asarray(Image.open(file)), glyphs


KINDS: Mapping[str, Callable[[Pixels, tuple[Glyph, ...], Random, Colour], Damaged]] = {
    "tilt": tilt,
    "blur": blur,
    "glare": glare,
    "low contrast": low_contrast,
    "jpeg": jpeg,
}
"""In the order in which they happen to a picture that suffers several."""


def chosen(rng: Random) -> tuple[str, ...]:
    """None of the kinds for one picture in five, one for most, two for one in seven."""
    draw = rng.random()
    names = rng.sample(sorted(KINDS), 0 if draw < 0.2 else 1 if draw < 0.86 else 2)
    return tuple(name for name in KINDS if name in names)
