"""Training pictures as one array of small squares, drawn once and kept in a file."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.cards.pictures import BANK, IDENTITY, KINDS, LABELS, draw, seeds_of
from deployments.contract import Pixels
from deployments.preprocess.safety.cards import squared

# Of 1000 training pictures. Cards of other kinds are what is hardest to tell apart; an order needs few to be known.
MIX: Mapping[str, int] = dict.fromkeys(KINDS, 40) | {
    IDENTITY: 210, BANK: 210, "membership card": 110, "business card": 60, "ticket": 60, "badge": 70, "form": 50
}  # fmt: skip

MARKS = 56


@dataclass(frozen=True, slots=True)
class Sample:
    """``pixels`` are uint8 (pictures, side, side, 3), ``labels`` float32 (pictures, labels) of zeros and ones.

    ``marks`` are uint8 (pictures, MARKS, MARKS, labels): how much of each place a card of each label fills.
    """

    pixels: Pixels
    labels: NDArray[np.float32]
    marks: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)


def sample(count: int, side: int, start: int, file: Path) -> Sample:
    """About ``count`` pictures of the training half from seed ``start`` on, from the file if it has just these."""
    key = f"{count}/{side}/{start}/{sorted(MIX.items())}"
    if file.exists():
        with np.load(file) as stored:
            if str(stored["key"]) == key:
                return Sample(stored["pixels"], stored["labels"], stored["marks"])
    drawn = _drawn(count, side, start)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part.npz")
    np.savez(unfinished, pixels=drawn.pixels, labels=drawn.labels, marks=drawn.marks, key=key)
    unfinished.replace(file)  # a file that is there is whole
    return drawn


def _drawn(count: int, side: int, start: int) -> Sample:
    todo = list(_seeds(count, start))
    pixels = np.empty((len(todo), side, side, 3), np.uint8)
    labels = np.zeros((len(todo), len(LABELS)), np.float32)
    marks = np.empty((len(todo), MARKS, MARKS, len(LABELS)), np.uint8)
    for place, (kind, seed) in enumerate(todo):
        picture = draw(kind, seed)
        pixels[place] = squared(picture.pixels, side)
        shrunk = Image.fromarray(picture.marks).resize((MARKS, MARKS), Image.Resampling.BOX)
        marks[place] = np.asarray(shrunk)[..., : len(LABELS)]
        labels[place] = [label in picture.labels for label in LABELS]
        if (place + 1) % 1000 == 0:
            print(f"{place + 1} of {len(todo)} pictures drawn", file=sys.stderr, flush=True)
    return Sample(pixels, labels, marks)


def _seeds(count: int, start: int) -> Iterator[tuple[str, int]]:
    for kind, share in MIX.items():
        for seed in islice(seeds_of(kind, start, held_out=False), round(count * share / sum(MIX.values()))):
            yield kind, seed
