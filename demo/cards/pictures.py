"""The classifier's pictures: which kinds there are, what each must be called, and which seeds are held out.

A seed of a kind gives one picture. One seed in ten, by hash, is held out (``demo.pictures``), and only those have the
layouts and surfaces that training never shows, and the font that it never uses.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from demo import fonts, scene
from demo.cards import bank, identity, lookalikes, surfaces
from demo.cards.blanks import Face
from demo.cards.photograph import PHOTOS, SCREENS, taken, worn
from demo.families import FAMILIES, SIZES
from demo.pictures import is_held_out, rng_of, seeds
from deployments.contract import Pixels

IDENTITY, BANK = "identity_card", "bank_card"
LABELS = (IDENTITY, BANK)
UNSEEN_SHARE = 0.15
"""Of held-out pictures, that have a layout training never shows; as many have its font."""

Layout = Callable[[Random, str], Face]
_OTHERS: Mapping[str, Layout] = {
    "business card": lookalikes.business_card,
    "membership card": lookalikes.membership_card,
    "ticket": lookalikes.ticket,
    "badge": lookalikes.badge,
    "form": lookalikes.form,
}
_IDENTITY: tuple[Layout, ...] = (identity.front, identity.front, identity.back, identity.pair)
_BANK: tuple[Layout, ...] = (bank.front, bank.front, bank.flat, bank.back)
_UNSEEN: Mapping[str, Layout] = {IDENTITY: identity.photocopy, BANK: bank.upright}

BOTH, SCREEN, NOTHING = "both cards", "phone screen", "no object"
KINDS: Mapping[str, tuple[str, ...]] = {
    IDENTITY: (IDENTITY,),
    BANK: (BANK,),
    BOTH: LABELS,
    **dict.fromkeys((*FAMILIES, *_OTHERS, SCREEN, NOTHING), ()),
}
"""Every kind of picture with the labels that it must be given."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, its labels, and whether its layout is one that training never shows.

    ``marks`` are as large as the pixels: 255 in the first channel where an identity card is, in the second where a
    bank card is.
    """

    kind: str
    pixels: Pixels
    marks: Pixels
    labels: tuple[str, ...]
    unseen: bool


def draw(kind: str, seed: int) -> Drawn:
    """The picture of that kind and seed."""
    rng, held_out = rng_of(f"cards/{kind}", seed), held(kind, seed)
    unseen = held_out and kind in _UNSEEN and rng.random() < UNSEEN_SHARE
    font = fonts.UNSEEN if held_out and rng.random() < UNSEEN_SHARE else rng.choice(fonts.TRAINED)
    pixels, marks = _shot(kind, rng, font, held_out, unseen)
    return Drawn(kind, pixels, marks, KINDS[kind], unseen)


def held(kind: str, seed: int) -> bool:
    return is_held_out(f"cards/{kind}", seed)


def seeds_of(kind: str, start: int, held_out: bool) -> Iterator[int]:
    """The seeds of one side of the split from ``start`` upwards."""
    return seeds(f"cards/{kind}", start, held_out)


def _shot(kind: str, rng: Random, font: str, held_out: bool, unseen: bool) -> tuple[Pixels, Pixels]:
    """Pixels and marks."""
    if kind in FAMILIES:
        return _unmarked(_customer_picture(kind, rng, font, held_out))
    if kind == SCREEN:
        size = rng.choice(SCREENS)
        image = surfaces.chat(rng, size, None, font)[0] if rng.random() < 0.4 else surfaces.home(rng, size, font)
        return _unmarked(worn(image, rng))
    if kind == NOTHING:
        kinds = {**surfaces.SEEN, **surfaces.UNSEEN} if held_out else surfaces.SEEN
        return _unmarked(worn(kinds[rng.choice(list(kinds))](rng, rng.choice(PHOTOS)), rng))
    if kind == BOTH:
        return taken(_both(rng, font), rng, font, held_out)
    layout = _UNSEEN[kind] if unseen else rng.choice(_layouts(kind))
    return taken(layout(rng, font), rng, font, held_out)


def _layouts(kind: str) -> tuple[Layout, ...]:
    return _IDENTITY if kind == IDENTITY else _BANK if kind == BANK else (_OTHERS[kind],)


def _customer_picture(family: str, rng: Random, font: str, held_out: bool) -> Pixels:
    """As the demo's model gets it, large on a desk, or photographed and sent like a card."""
    way = rng.random()
    if way < 0.1:
        return scene.draw(rng, FAMILIES[family], rng.choice(scene.DESKS), (font,)).pixels
    pixels = FAMILIES[family].draw(rng, rng.choice(SIZES), (font,)).pixels
    if way < 0.55:
        return pixels
    return taken(Face.of(Image.fromarray(pixels)), rng, font, held_out)[0]


def _unmarked(pixels: Pixels) -> tuple[Pixels, Pixels]:
    return pixels, np.zeros_like(pixels)


def _both(rng: Random, font: str) -> Face:
    """An identity card and a bank card, one above the other or side by side."""
    pair = [rng.choice((identity.front, identity.back))(rng, font), rng.choice((bank.front, bank.flat))(rng, font)]
    rng.shuffle(pair)
    (wide, tall), gap, beside = pair[0].size, rng.randint(8, 40), rng.random() < 0.4
    shift = (wide + gap, 0) if beside else (0, tall + gap)
    sheet = Face.of(Image.new("RGBA", (wide + shift[0], tall + shift[1])))
    sheet.paste(pair[0], (0, 0))
    sheet.paste(pair[1], shift)
    return sheet
