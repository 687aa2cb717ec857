"""Batches for training: pictures and their marks cut, turned and lit at random."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from demo.cards.cache import Sample
from demo.cards.network import SHRINK
from deployments.contract import Pixels

BATCH = 64
LEAST_KEPT = 0.85
"""Of a square's side, that a cut leaves at least."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A square part of a picture, turned by quarters, perhaps mirrored. ``x``, ``y`` and ``kept`` are shares of it."""

    x: float
    y: float
    kept: float
    quarters: int
    mirrored: bool

    @classmethod
    def drawn(cls, rng: Random) -> Self:
        """Half of the time upright."""
        kept = rng.uniform(LEAST_KEPT, 1)
        turned = rng.random() < 0.5
        quarters, mirrored = (rng.randrange(4), rng.random() < 0.5) if turned else (0, False)
        return cls(rng.uniform(0, 1 - kept), rng.uniform(0, 1 - kept), kept, quarters, mirrored)

    def of(self, pixels: NDArray[np.uint8], side: int, way: Image.Resampling) -> NDArray[np.uint8]:
        """That part of a square picture, resized to ``side``; channels as they are."""
        left, top, kept = self.x * len(pixels), self.y * len(pixels), self.kept * len(pixels)
        image = Image.fromarray(pixels).resize((side, side), way, (left, top, left + kept, top + kept))
        part = np.rot90(np.asarray(image), self.quarters)
        return part[:, ::-1] if self.mirrored else part


def lit(pixels: Pixels, rng: Random) -> Pixels:
    """In other light; one in eight without colours."""
    gains, shift = [rng.gauss(1, 0.12) for _ in range(3)], rng.gauss(0, 12)
    light = pixels * np.array(gains, np.float32) + np.float32(shift)
    if rng.random() < 0.12:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    changed: Pixels = np.clip(light, 0, 255).astype(np.uint8)
    return changed


@dataclass(frozen=True, slots=True)
class Batch:
    """``pixels`` as the network takes them, ``labels``, and ``places``: 1 where a card fills half of one or more."""

    pixels: Tensor
    labels: Tensor
    places: Tensor

    @classmethod
    def of(cls, pictures: Sample, which: NDArray[np.int64], side: int, rng: Random) -> Self:
        cuts = [Cut.drawn(rng) for _ in which]
        chosen = list(zip(which, cuts, strict=True))
        pixels = [lit(cut.of(pictures.pixels[at], side, Image.Resampling.BILINEAR), rng) for at, cut in chosen]
        marks = [
            cut.of(_padded(pictures.marks[at]), side // SHRINK, Image.Resampling.BOX)[..., :2] for at, cut in chosen
        ]
        places = np.minimum(1, np.stack(marks).astype(np.float32) / 127.5)
        return cls(*map(torch.from_numpy, (np.stack(pixels), pictures.labels[which], places)))


def _padded(marks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With a third channel, which Pillow needs."""
    return np.concatenate([marks, np.zeros_like(marks[..., :1])], axis=2)


def batches(pictures: Sample, side: int, steps: int, seed: int) -> Iterator[Batch]:
    """``steps`` batches of pictures of ``side`` pixels; every picture once before any comes again."""
    rng, light = np.random.default_rng(seed), Random(seed)
    order = np.empty(0, np.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = np.concatenate([order, rng.permutation(len(pictures))])
        now, order = order[:BATCH], order[BATCH:]
        yield Batch.of(pictures, now, side, light)
