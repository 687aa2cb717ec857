"""The network in torch, as it is trained, and the way from there to the files that serve."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import conv2d

from deployments.preprocess.safety.cards import CONFIG, LABELS, WEIGHTS, CardConfig, Convolution

FOLDER = Path(__file__).parent / "checkpoint"
SHRINK = 16
"""Pixels of the input to a side of a place in the last map."""
WIDTHS = ((16, 2), (24, 2), (40, 2), (40, 1), (64, 2), (64, 1), (96, 1))
"""Output channels and stride of each convolution."""


class Layer(nn.Module):
    """A convolution whose weights are one matrix (outputs, 9 * inputs), for the optimizer's sake; then a ReLU."""

    def __init__(self, shape: Convolution, normalised: bool) -> None:
        super().__init__()
        self.shape = shape
        fan_in = 9 * shape.inputs
        self.weight = nn.Parameter(torch.randn(shape.outputs, fan_in) * (2 / fan_in) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(shape.outputs))
        self.normalisation = nn.BatchNorm2d(shape.outputs) if normalised else None

    @property
    def kernels(self) -> Tensor:
        return self.weight.view(self.shape.outputs, self.shape.inputs, 3, 3)

    def forward(self, features: Tensor) -> Tensor:
        out = conv2d(features, self.kernels, self.bias, self.shape.stride, padding=1)
        return torch.relu(out if self.normalisation is None else self.normalisation(out))

    def normalise(self, features: Tensor) -> Tensor:
        """What comes out, as before, but now through a normalisation that is set by these features."""
        out = conv2d(features, self.kernels, self.bias, self.shape.stride, padding=1)
        norm = nn.BatchNorm2d(self.shape.outputs)
        mean, variance = out.mean((0, 2, 3)), out.var((0, 2, 3)) + norm.eps
        norm.load_state_dict(
            {"weight": variance.sqrt(), "bias": mean, "running_mean": mean, "running_var": variance}, False
        )
        self.normalisation = norm
        return torch.relu(out)

    def fused(self) -> dict[str, Tensor]:
        """Weight and bias of the same function, in evaluation, without the normalisation."""
        norm = self.normalisation
        if norm is None or norm.running_mean is None or norm.running_var is None:
            return {"weight": self.weight, "bias": self.bias}
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        return {"weight": self.weight * gain[:, None], "bias": (self.bias - norm.running_mean) * gain + norm.bias}


class Network(nn.Module):
    """Convolutions, a logit for each label at each place, and from all places one for the picture.

    ``normalised`` puts a batch normalisation behind each convolution, for training only.
    """

    def __init__(self, shapes: Iterable[Convolution], normalised: bool = False) -> None:
        super().__init__()
        layers = [Layer(shape, normalised) for shape in shapes]
        self.convolutions = nn.Sequential(*layers)
        channels = layers[-1].shape.outputs
        self.places = nn.Linear(channels, len(LABELS))
        self.head = nn.Linear(2 * channels + len(LABELS), len(LABELS))

    @property
    def layers(self) -> list[Layer]:
        return [layer for layer in self.convolutions if isinstance(layer, Layer)]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (pictures, labels), and of each place (pictures, rows, columns, labels).

        ``pixels`` are uint8 RGB (pictures, height, width, 3).
        """
        features = self.convolutions(_centred(pixels))
        places = self.places(features.permute(0, 2, 3, 1))
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3)), places.amax((1, 2))], 1)
        return self.head(pooled), places

    @torch.no_grad()
    def normalise(self, pixels: Tensor) -> None:
        """Put normalisations into a fused network so that it can be trained on; its function is the same."""
        features = _centred(pixels)
        for layer in self.layers:
            features = layer.normalise(features)

    @torch.no_grad()
    def fused(self) -> "Network":
        """The same function without normalisations, in evaluation, for serving."""
        plain = Network(layer.shape for layer in self.layers)
        for mine, theirs in zip(self.layers, plain.layers, strict=True):
            theirs.load_state_dict(mine.fused())
        plain.places.load_state_dict(self.places.state_dict())
        plain.head.load_state_dict(self.head.state_dict())
        return plain.eval()


def _centred(pixels: Tensor) -> Tensor:
    return (pixels.permute(0, 3, 1, 2).float() - 128) / 64


def architecture() -> tuple[Convolution, ...]:
    inputs = (3, *(outputs for outputs, _ in WIDTHS))
    return tuple(
        Convolution(inputs=taken, outputs=outputs, stride=stride)
        for taken, (outputs, stride) in zip(inputs, WIDTHS, strict=False)
    )


def save(network: Network, input_size: int, threshold: float, folder: Path) -> None:
    """Write the fused weights in float16, which halves them and moves no score by a percent, and their config."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = network.fused().state_dict()
    save_file({name: tensor.half().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    shapes = tuple(layer.shape for layer in network.layers)
    config = CardConfig(input_size=input_size, labels=LABELS, threshold=threshold, convolutions=shapes)
    (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> Network:
    """The stored network in torch: what numpy's is compared with."""
    config = CardConfig.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
    network = Network(config.convolutions)
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()})
    return network.eval()
