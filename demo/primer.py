"""Dense pages of random characters: reading lessons of the vision tower alone, later damaged as waybills are."""

from collections.abc import Sequence
from random import Random

from demo import damage, fonts
from demo.canvas import Canvas, noisy, random_theme
from demo.pictures import Picture, Size

FAMILY = "primer"
DIGITS = "0123456789"


def draw(
    rng: Random, size: Size, characters: str, faces: Sequence[str] = fonts.TRAINED, damaged: bool = False
) -> Picture:
    """A page full of lines; half of the runs are digits, which stand closest together and are asked for most."""
    canvas = Canvas(*size, random_theme(rng))
    theme, face, middle = canvas.theme, rng.choice(faces), rng.uniform(12, 22)
    lines = []
    while middle < canvas.height - 10:
        font = fonts.load(face, rng.randint(15, 22))
        x, drawn = rng.uniform(4, 16), ""
        while x < canvas.width - 24:
            pool = DIGITS if rng.random() < 0.5 else characters
            run = "".join(rng.choice(pool) for _ in range(rng.randint(2, 6)))
            if x + font.getlength(run) > canvas.width - 4:
                break
            x, drawn = canvas.text(x, middle, run, font, rng.choice((theme.ink, theme.pale))), drawn + run
            if rng.random() < 0.3:
                x += rng.uniform(3, 30)
        lines.append(drawn)
        middle += rng.uniform(28, 38)
    pixels, glyphs = canvas.pixels(), tuple(canvas.glyphs)
    for kind in damage.chosen(rng) if damaged else ():
        pixels, glyphs = damage.KINDS[kind](pixels, glyphs, rng, theme.ground)
    glyphs = tuple(glyph for glyph in glyphs if 0 <= glyph.x < canvas.width and 0 <= glyph.y < canvas.height)
    return Picture(FAMILY, noisy(pixels, rng), glyphs, tuple(lines), {})
