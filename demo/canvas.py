"""A picture under construction that remembers where it put each character.

The positions are the auxiliary training target (demo/train.py): we know what stands where because we drew it.
"""

from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]


class Glyph(NamedTuple):
    """One drawn character and the centre of its box, in pixels."""

    character: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one picture: ground behind the text, ink for values, a paler ink for labels, an accent for bars."""

    ground: Colour
    ink: Colour
    pale: Colour
    accent: Colour


def random_theme(rng: Random) -> Theme:
    """A light theme, or in one of seven pictures a dark one."""

    def shade(low: int, high: int) -> Colour:
        return (rng.randint(low, high), rng.randint(low, high), rng.randint(low, high))

    if rng.random() < 1 / 7:
        return Theme(shade(10, 50), shade(210, 255), shade(150, 200), shade(40, 110))
    return Theme(shade(222, 255), shade(0, 70), shade(70, 125), shade(150, 230))


@cache
def _advance(font: ImageFont.FreeTypeFont, character: str) -> float:
    """Width of one character; the fonts' kerning is below a pixel and ignored."""
    return font.getlength(character)


@dataclass(slots=True)
class Canvas:
    """Draws text lines on a plain ground and records every glyph."""

    width: int
    height: int
    theme: Theme
    glyphs: list[Glyph] = field(default_factory=list)
    image: Image.Image = field(init=False)
    _draw: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (self.width, self.height), self.theme.ground)
        self._draw = ImageDraw.Draw(self.image)

    def text(self, x: float, middle_y: float, text: str, font: ImageFont.FreeTypeFont, ink: Colour) -> float:
        """Draw one line whose vertical middle is ``middle_y``; returns the x where it ends."""
        self._draw.text((x, middle_y), text, font=font, fill=ink, anchor="lm")
        for character in text:
            advance = _advance(font, character)
            if not character.isspace():
                self.glyphs.append(Glyph(character, x + advance / 2, middle_y))
            x += advance
        return x

    def bar(self, top: float, bottom: float, colour: Colour) -> None:
        self._draw.rectangle((0, top, self.width, bottom), fill=colour)

    def rule(self, y: float, colour: Colour) -> None:
        self._draw.line((12, y, self.width - 12, y), fill=colour)

    def pixels(self, noise_sigma: float, noise_seed: int) -> NDArray[np.uint8]:
        """The picture as uint8 (height, width, 3), with Gaussian noise of that standard deviation (in grey levels)."""
        pixels = np.asarray(self.image)
        if noise_sigma <= 0:
            return pixels.copy()
        noise = np.random.default_rng(noise_seed).standard_normal(pixels.shape, dtype=np.float32) * noise_sigma
        clipped: NDArray[np.uint8] = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        return clipped
