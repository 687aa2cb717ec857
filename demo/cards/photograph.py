"""From a flat card or page to the picture that somebody sends: photographed, scanned, shown on a screen, compressed."""

import math
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo import damage
from demo.canvas import noisy, shade
from demo.cards import surfaces
from demo.cards.blanks import Face, near
from demo.pictures import Size
from deployments.contract import Pixels

PHOTOS: tuple[Size, ...] = ((480, 360), (360, 480), (420, 420), (480, 270), (428, 300))
SCREENS: tuple[Size, ...] = ((300, 540), (300, 620), (320, 480))
LEAST_SHARE = 0.25
"""Of the picture's width, that a card takes at least."""

Point = tuple[float, float]
Screen = Callable[[Random, Size, Image.Image, str], tuple[Image.Image, surfaces.Box]]


def taken(face: Face, rng: Random, font: str, unseen: bool) -> tuple[Pixels, Pixels]:
    """A picture of ``face``, and its marks: on a surface most often, else a scan, on a viewer's screen, in a chat.

    ``unseen`` allows the surfaces that training never has.
    """
    draw = rng.random()
    if draw < 0.62:
        shot = lying(face, rng, rng.choice(PHOTOS), unseen)
    elif draw < 0.74:
        shot = scan(face, rng)
    elif draw < 0.84:
        shot = _shown(surfaces.viewer, face, rng, font, unseen)
    else:
        shot = _shown(surfaces.chat, face, rng, font, unseen)
    return worn(shot.image, rng), np.asarray(shot.marks)


def lying(face: Face, rng: Random, size: Size, unseen: bool, least: float = LEAST_SHARE) -> Face:
    """On a surface, turned, seen a little from the side, perhaps partly covered."""
    kinds = surfaces.UNSEEN if unseen and rng.random() < 0.5 else surfaces.SEEN
    shot = Face.of(kinds[rng.choice(list(kinds))](rng, size))
    corners = _corners(face.size, rng, size, least)
    _lay(shot, face, corners, rng)
    if rng.random() < 0.2:
        _cover(shot.image, corners, rng)
    return shot


def scan(face: Face, rng: Random) -> Face:
    """Cut close to its edges, straight, with a narrow rim of one colour or none."""
    rim = rng.choice((0, 0, rng.randint(2, 24)))
    wide, tall = face.size[0] + 2 * rim, face.size[1] + 2 * rim
    sheet = Face.of(Image.new("RGB", (wide, tall), shade(rng, 150, 255)))
    sheet.paste(face, (rim, rim))
    cut = [rng.uniform(0, 0.04) * side for side in (wide, tall, wide, tall)]
    box = (int(cut[0]), int(cut[1]), int(wide - cut[2]), int(tall - cut[3]))
    turn = rng.choice((0, 0, 0, 90, 180, 270))
    return Face(*(part.crop(box).rotate(turn, expand=True) for part in (sheet.image, sheet.marks)))


def worn(image: Image.Image, rng: Random) -> Pixels:
    """Up to two kinds of damage, and noise."""
    pixels = np.asarray(image.convert("RGB"))
    for kind in damage.chosen(rng):
        if kind != "tilt":  # the card is turned, not the picture
            pixels, _ = damage.KINDS[kind](pixels, (), rng, (0, 0, 0))
    return noisy(pixels, rng)


def _shown(screen: Screen, face: Face, rng: Random, font: str, unseen: bool) -> Face:
    """On a phone's screen."""
    size = rng.choice(SCREENS)
    sent = _sent(face, rng, unseen)
    image, box = screen(rng, size, sent.image.convert("RGB"), font)
    shot = Face.of(image)
    shot.marks.paste(sent.marks.resize((box[2] - box[0], box[3] - box[1])), box)
    return shot


def _sent(face: Face, rng: Random, unseen: bool) -> Face:
    """A scan or photo, as it is shown on a screen: the card large enough to be LEAST_SHARE of the screen's width."""
    if rng.random() < 0.4:
        return scan(face, rng)
    return lying(face, rng, rng.choice(PHOTOS), unseen, least=2 * LEAST_SHARE)


def _corners(card: Size, rng: Random, size: Size, least: float) -> list[Point]:
    """Where the four corners come to lie, clockwise from the card's own top left."""
    turn = rng.gauss(0, 7) + (rng.choice((90, 180, 270)) if rng.random() < 0.25 else 0)
    if rng.random() < 0.1:
        turn = rng.uniform(0, 360)
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    box = [(x * card[0] / 2, y * card[1] / 2) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in box]
    wide, tall = 2 * max(abs(x) for x, _ in turned), 2 * max(abs(y) for _, y in turned)
    most = min(size[0] / wide, size[1] / tall) * 1.04
    scale = rng.uniform(min(most, least * size[0] / wide), most)
    slack = [max(0.0, side - length * scale) / 2 for side, length in zip(size, (wide, tall), strict=True)]
    middle = [side / 2 + rng.uniform(-room, room) for side, room in zip(size, slack, strict=True)]
    lean = rng.choice((0.0, 0.03, 0.07)) * scale * card[0]
    return [
        (middle[0] + x * scale + rng.uniform(-lean, lean), middle[1] + y * scale + rng.uniform(-lean, lean))
        for x, y in turned
    ]


def _lay(shot: Face, face: Face, corners: list[Point], rng: Random) -> None:
    wide = math.dist(corners[0], corners[1])
    # Shrunk before it is warped: the warp alone would alias.
    scale = min(1.0, max(16.0, wide) / face.size[0])
    small = (round(face.size[0] * scale), round(face.size[1] * scale))
    way = _perspective(corners, small)
    laid, marks = (
        part.resize(small, Image.Resampling.LANCZOS).transform(
            shot.size, Image.Transform.PERSPECTIVE, way, Image.Resampling.BICUBIC
        )
        for part in (face.image, face.marks)
    )
    if rng.random() < 0.7:
        shadow = laid.getchannel("A").filter(ImageFilter.GaussianBlur(rng.uniform(1, 5)))
        dark = shadow.point(lambda value: value * 0.5)
        shot.image.paste((10, 10, 10), (rng.randint(-2, 4), rng.randint(0, 5)), dark)
    shot.paste(Face(laid, marks), (0, 0))


def _perspective(corners: list[Point], size: Size) -> tuple[float, ...]:
    """Pillow's eight coefficients, which lead from the picture's points back to the card's."""
    sources = ((0, 0), (size[0], 0), size, (0, size[1]))
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, sources, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows, np.float64), np.array(values, np.float64)).tolist())


def _cover(image: Image.Image, corners: list[Point], rng: Random) -> None:
    """A finger or a strip of paper over one corner."""
    x, y = rng.choice(corners)
    reach = math.dist(corners[0], corners[2]) * rng.uniform(0.08, 0.16)
    draw = ImageDraw.Draw(image)
    shape: Callable[..., None] = rng.choice((draw.ellipse, draw.rectangle))
    colour = near(rng, (222, 182, 152), 25) if shape == draw.ellipse else shade(rng, 20, 250)
    shape((x - reach * 1.3, y - reach, x + reach * 1.3, y + reach), fill=colour)
