"""Large pictures: a card of one of the families lying somewhere on a desk, its text small beside the whole.

In training the desk is about 1000 px wide; in evaluation everything is ``magnified`` to 4000 px and more, as by a
better camera. Either way the model sees an overview, where the text is too small to read, and tiles, where it is not.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from demo import fonts
from demo.canvas import Glyph, shade
from demo.families import SIZES
from demo.families.family import Family
from demo.pictures import Picture, Size
from deployments.preprocess.settings import PreprocessKnobs

KNOBS = PreprocessKnobs(longest_edge=504, tile_edge=504, max_tiles=4, tiles_above_edge=700)
"""How the demo model is trained to see pictures; ``serve_config.yaml`` gives the preprocessor the same."""

BUDGET = KNOBS.budget

DESKS: tuple[Size, ...] = ((1008, 756), (756, 1008), (504, 1092))


def draw(rng: Random, family: Family, desk: Size, faces: Sequence[str] = fonts.TRAINED, magnified: int = 1) -> Picture:
    """A card of ``family`` on a desk of that width and height times ``magnified``."""
    card = family.draw(rng, rng.choice(SIZES), faces)
    height, width = card.pixels.shape[:2]
    x, y = rng.randint(0, desk[0] - width), rng.randint(0, desk[1] - height)
    image = _desk(rng, desk).resize((desk[0] * magnified, desk[1] * magnified))
    paper = Image.fromarray(card.pixels).resize((width * magnified, height * magnified), Image.Resampling.LANCZOS)
    image.paste(paper, (x * magnified, y * magnified))
    glyphs = tuple(Glyph(c, (x + gx) * magnified, (y + gy) * magnified) for c, gx, gy in card.glyphs)
    return replace(card, pixels=np.asarray(image).copy(), glyphs=glyphs)


def _desk(rng: Random, size: Size) -> Image.Image:
    """A surface with a few things on it, none of them with text."""
    image = Image.new("RGB", size, shade(rng, 60, 230))
    draw_ = ImageDraw.Draw(image)
    for _ in range(rng.randint(2, 8)):
        x, y = rng.randint(0, size[0]), rng.randint(0, size[1])
        box = (x, y, x + rng.randint(20, 300), y + rng.randint(10, 200))
        rng.choice((draw_.rectangle, draw_.ellipse))(box, fill=shade(rng, 30, 245))
    return image
