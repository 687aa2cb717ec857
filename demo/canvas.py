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
Font = ImageFont.FreeTypeFont


class Glyph(NamedTuple):
    """One character that stands at a place, by the centre of its box in pixels."""

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


def random_theme(rng: Random, dark_share: float = 1 / 7) -> Theme:
    """A light theme, or sometimes a dark one."""
    if rng.random() < dark_share:
        return Theme(shade(rng, 10, 50), shade(rng, 210, 255), shade(rng, 150, 200), shade(rng, 40, 110))
    return Theme(shade(rng, 222, 255), shade(rng, 0, 70), shade(rng, 70, 125), shade(rng, 150, 230))


def shade(rng: Random, low: int, high: int) -> Colour:
    return (rng.randint(low, high), rng.randint(low, high), rng.randint(low, high))


@cache
def _advance(font: Font, character: str) -> float:
    """Width of one character; the fonts' kerning is below a pixel and ignored."""
    return font.getlength(character)


@dataclass(slots=True)
class Canvas:
    """Draws text on a plain ground and records every glyph."""

    width: int
    height: int
    theme: Theme
    glyphs: list[Glyph] = field(default_factory=list)
    image: Image.Image = field(init=False)
    draw: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (self.width, self.height), self.theme.ground)
        self.draw = ImageDraw.Draw(self.image)

    def text(self, x: float, middle_y: float, text: str, font: Font, ink: Colour) -> float:
        """Draw one line whose vertical middle is ``middle_y``; returns the x where it ends."""
        self.draw.text((x, middle_y), text, font=font, fill=ink, anchor="lm")
        for character in text:
            advance = _advance(font, character)
            if not character.isspace():
                self.mark(character, x + advance / 2, middle_y)
            x += advance
        return x

    def centred(self, middle_x: float, middle_y: float, text: str, font: Font, ink: Colour) -> None:
        self.text(middle_x - font.getlength(text) / 2, middle_y, text, font, ink)

    def handwriting(self, rng: Random, x: float, middle_y: float, text: str, font: Font, ink: Colour) -> float:
        """A line whose characters dance: each is turned up to 8 degrees and shifted up to 2 px."""
        side = int(font.size * 1.6)
        for character in text:
            advance = _advance(font, character)
            stamp = Image.new("L", (side, side))
            ImageDraw.Draw(stamp).text((side / 2, side / 2), character, font=font, fill=255, anchor="mm")
            stamp = stamp.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC)
            centre_x, centre_y = x + advance / 2, middle_y + rng.uniform(-2, 2)
            self.image.paste(ink, (round(centre_x - side / 2), round(centre_y - side / 2)), stamp)
            self.mark(character, centre_x, centre_y)
            x += advance + rng.uniform(0, 1.5)
        return x

    def mark(self, character: str, x: float, y: float) -> None:
        """Remember that this character stands (or, on a board, that this is the case) at this place."""
        self.glyphs.append(Glyph(character, x, y))

    def bar(self, top: float, bottom: float, colour: Colour) -> None:
        self.draw.rectangle((0, top, self.width, bottom), fill=colour)

    def rule(self, y: float, colour: Colour) -> None:
        self.draw.line((12, y, self.width - 12, y), fill=colour)

    def pixels(self) -> NDArray[np.uint8]:
        """The picture as uint8 (height, width, 3)."""
        return np.asarray(self.image).copy()


def noisy(pixels: NDArray[np.uint8], rng: Random, most_sigma: float = 8.0) -> NDArray[np.uint8]:
    """Half of the time as it is, else with Gaussian noise of up to ``most_sigma`` grey levels."""
    sigma = rng.uniform(0, most_sigma) if rng.random() < 0.5 else 0.0
    seed = rng.getrandbits(32)
    if sigma <= 0:
        return pixels
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32) * sigma
    clipped: NDArray[np.uint8] = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return clipped
