"""Blank cards in the size of ID-1 (85.6 x 54 mm), and what several kinds of card have in common."""

from dataclasses import dataclass
from random import Random
from typing import Self

import numpy as np
from PIL import Image, ImageDraw

from demo.canvas import Colour, shade

SIZE = (428, 270)

PLAIN, IDENTITY_MARK, BANK_MARK = (0, 0, 0), (255, 0, 0), (0, 255, 0)
"""What ``marks`` are painted with: nothing to find, an identity card, a bank card."""


@dataclass(frozen=True, slots=True)
class Face:
    """One side of a card, or a sheet of paper: what it looks like and where on it the cards are.

    ``image`` is RGBA, transparent outside its corners; ``marks`` is RGB of the same size.
    """

    image: Image.Image
    marks: Image.Image

    @classmethod
    def of(cls, image: Image.Image, mark: Colour = PLAIN) -> Self:
        """A face that is one thing all over."""
        return cls(image.convert("RGBA"), Image.new("RGB", image.size, mark))

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size

    def paste(self, other: "Face", at: tuple[int, int]) -> None:
        """Lay another one onto this one."""
        self.image.paste(other.image, at, other.image)
        self.marks.paste(other.marks, at, other.image)


def gradient(size: tuple[int, int], one: Colour, other: Colour, rng: Random) -> Image.Image:
    """RGB that goes from one colour to the other in a random direction."""
    across, down = rng.uniform(-1, 1), rng.uniform(-1, 1)
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    slope = across * x / size[0] + down * y / size[1]
    slope = ((slope - slope.min()) / max(1e-6, float(np.ptp(slope))))[..., None]
    mixed = np.array(one, np.float32) * (1 - slope) + np.array(other, np.float32) * slope
    return Image.fromarray(mixed.astype(np.uint8))


def rounded(image: Image.Image, mark: Colour = PLAIN, radius: int = 16) -> Face:
    """The picture with round corners."""
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius, fill=255)
    face = Face.of(image, mark)
    face.image.putalpha(mask)
    return face


def near(rng: Random, colour: Colour, spread: int = 12) -> Colour:
    """A colour within ``spread`` of this one in each channel."""
    red, green, blue = (min(255, max(0, value + rng.randint(-spread, spread))) for value in colour)
    return red, green, blue


def waves(draw: ImageDraw.ImageDraw, rng: Random, size: tuple[int, int], colour: Colour) -> None:
    """A few fine parallel curves, like the guilloche of a printed security ground."""
    step, bend, phase = rng.randint(5, 10), rng.uniform(4, 14), rng.uniform(0, 6)
    xs = np.arange(0, size[0] + 12, 12)
    curve = bend * np.sin(xs / rng.uniform(30, 70) + phase)
    for base in range(-20, size[1] + 20, step):
        draw.line([(float(x), float(base + y)) for x, y in zip(xs, curve, strict=True)], fill=colour)


def portrait(rng: Random, size: tuple[int, int], ground: Colour) -> Image.Image:
    """A head and shoulders of plain shapes: like a passport photo from afar, like nobody from near."""
    width, height = size
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    skin, hair, cloth = near(rng, (222, 182, 152), 22), shade(rng, 10, 70), shade(rng, 20, 235)
    middle, head = width / 2 + rng.uniform(-3, 3), width * rng.uniform(0.21, 0.27)
    top = height * rng.uniform(0.16, 0.24)
    chin = top + head * 2.5
    draw.ellipse((width * 0.04, chin + height * 0.06, width * 0.96, height * 1.5), fill=cloth)
    draw.rectangle((middle - head * 0.45, chin - head * 0.6, middle + head * 0.45, chin + height * 0.1), fill=skin)
    draw.ellipse((middle - head * 1.15, top - head * 0.3, middle + head * 1.15, top + head * 1.9), fill=hair)
    if rng.random() < 0.4:  # long hair
        draw.rectangle((middle - head * 1.15, top + head * 0.7, middle + head * 1.15, chin + head * 0.4), fill=hair)
    draw.ellipse((middle - head, top + head * 0.15, middle + head, chin), fill=skin)
    for side in (-0.4, 0.4):
        x, y = middle + head * side, top + head * 1.2
        draw.ellipse((x - 3, y - 1.5, x + 3, y + 1.5), fill=hair)
    draw.line((middle - head * 0.3, chin - head * 0.6, middle + head * 0.3, chin - head * 0.6), fill=(170, 90, 90))
    return image
