"""Recognises identity cards and bank cards with a small convolutional network, in numpy alone.

The network is trained by ``demo.cards.train``; what it has seen are drawn pictures (``demo/cards``).
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load_file

from deployments.checkpoints import CheckpointError, read_header, read_json
from deployments.contract import Pixels
from deployments.preprocess.safety.check import Subject
from deployments.preprocess.safety.convolutions import Array, Kernel, Maps

LABELS = ("identity_card", "bank_card")
WEIGHTS, CONFIG = "model.safetensors", "config.json"
RETRAIN = "name a folder that `python -m demo.cards.train` has written"


class Convolution(BaseModel):
    """A 3 x 3 convolution with zero padding of 1, followed by a ReLU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: int = Field(ge=1)
    outputs: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)


class CardConfig(BaseModel):
    """``config.json``: what the weights fit to, and the score from which a label is believed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_size: int = Field(ge=16, le=512, description="side in pixels of the square that every picture is resized to")
    labels: tuple[str, ...]
    threshold: float = Field(gt=0, lt=1)
    convolutions: tuple[Convolution, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.labels != LABELS:
            raise ValueError(f"labels must be {list(LABELS)}")
        widths = [3, *(layer.outputs for layer in self.convolutions)]
        if [layer.inputs for layer in self.convolutions] != widths[:-1]:
            raise ValueError("each convolution must take what the one before gives, the first one 3 channels")
        return self

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's name and shape; kernels are rows of (inputs, height, width)."""
        found: dict[str, tuple[int, ...]] = {}
        for place, layer in enumerate(self.convolutions):
            found[f"convolutions.{place}.weight"] = (layer.outputs, 9 * layer.inputs)
            found[f"convolutions.{place}.bias"] = (layer.outputs,)
        labels, channels = len(self.labels), self.convolutions[-1].outputs
        found |= {"places.weight": (labels, channels), "places.bias": (labels,)}
        return found | {"head.weight": (labels, 2 * channels + labels), "head.bias": (labels,)}


@dataclass(frozen=True, slots=True)
class CardClassifier:
    """Scores a picture for each label, in a few milliseconds on one core. Safe to share between threads."""

    name = "cards"
    labels = LABELS

    config: CardConfig
    kernels: tuple[Kernel, ...]
    places: tuple[Array, Array]
    """What says of each place whether a card is there: a (channels, labels) matrix and the biases."""
    head: tuple[Array, Array]
    """What says it of the picture: of all channels' means and maxima, and of the surest place for each label."""
    _free: deque[Maps] = field(default_factory=deque)
    """Memory of pictures that are done, for the next ones."""

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """The classifier of a folder with its config and weights. Raises CheckpointError with what to do."""
        folder = Path(folder)
        try:
            config = CardConfig.model_validate(read_json(folder / CONFIG))
            read_header(folder / WEIGHTS)
            tensors = load_file(folder / WEIGHTS)
        except (CheckpointError, ValidationError, SafetensorError, TypeError, KeyError) as fault:
            raise CheckpointError(f"{folder} holds no card classifier ({fault}): {RETRAIN}") from fault
        found = {name: tensor.shape for name, tensor in tensors.items()}
        if found != config.shapes():
            odd = sorted(name for name, _ in found.items() ^ config.shapes().items())
            raise CheckpointError(
                f"{folder}: {WEIGHTS} does not fit {CONFIG} at {', '.join(dict.fromkeys(odd))}: {RETRAIN}"
            )
        if odd := [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]:
            raise CheckpointError(f"{folder}: {WEIGHTS} holds NaN or infinity in {', '.join(odd)}: {RETRAIN}")
        weights = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
        kernels = tuple(
            Kernel.of(weights[f"convolutions.{at}.weight"], weights[f"convolutions.{at}.bias"], layer.stride)
            for at, layer in enumerate(config.convolutions)
        )
        places, head = ((weights[f"{part}.weight"].T.copy(), weights[f"{part}.bias"]) for part in ("places", "head"))
        return cls(config, kernels, places, head)

    @property
    def threshold(self) -> float:
        """The score from which a label is believed, as chosen when the classifier was trained."""
        return self.config.threshold

    def scores(self, subject: Subject) -> Mapping[str, float]:
        """How sure each label is, 0 to 1."""
        return self.scores_of(subject.pixels)

    def scores_of(self, picture: Pixels) -> dict[str, float]:
        """How sure each label is, 0 to 1, for uint8 RGB pixels (height, width, 3) of any size."""
        with self._maps() as maps:
            np.subtract(squared(picture, self.config.input_size), np.float32(128), out=maps.input)
            maps.input[...] *= np.float32(1 / 64)
            features = maps.run()
            surest = (features @ self.places[0] + self.places[1]).max(axis=(0, 1))
            pooled = np.concatenate([features.mean(axis=(0, 1)), features.max(axis=(0, 1)), surest])
        logits = pooled @ self.head[0] + self.head[1]
        sure = 1 / (1 + np.exp(-logits.clip(-60, 60)))
        return {label: float(score) for label, score in zip(self.labels, sure, strict=True)}

    @contextmanager
    def _maps(self) -> Iterator[Maps]:
        try:
            maps = self._free.pop()
        except IndexError:
            maps = Maps(self.kernels, self.config.input_size)
        yield maps
        self._free.append(maps)


def squared(picture: Pixels, side: int) -> Pixels:
    """The whole picture as a square: what it loses in shape, a card on a tall screenshot gains in size."""
    image = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image)
