"""Layers as plain functions on their weights: what they share with the loaded model, and no module around them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear, rms_norm, silu

Layer = Callable[[torch.Tensor], torch.Tensor]


@torch.no_grad()
def fused(*layers: nn.Module) -> Layer:
    """One product for several linear layers that read the same input; their outputs stand side by side.

    Plain layers keep their weights as parts of the one matrix, so that nothing is held twice. Quantized ones, which
    cannot be put together, are asked one after the other.
    """
    if not all(type(layer) is nn.Linear for layer in layers):
        if len(layers) == 1:
            return layers[0]
        return lambda hidden: torch.cat([layer(hidden) for layer in layers], -1)
    plain: Any = layers
    weight = torch.cat([layer.weight for layer in plain]) if len(plain) > 1 else plain[0].weight.data
    bias = torch.cat([layer.bias for layer in plain]) if plain[0].bias is not None else None
    begin = 0
    for layer in plain:
        layer.weight.data = weight[begin : begin + layer.out_features]
        begin += layer.out_features
    return lambda hidden: linear(hidden, weight, bias)


def norm(module: Any) -> Layer:
    """Root mean square normalisation by a module's weight, computed in float32 inside."""
    weight, epsilon = module.weight.data, module.variance_epsilon
    shape = tuple(weight.shape)
    return lambda hidden: rms_norm(hidden, shape, weight, epsilon)


def gated(gate_up: Layer, down: Layer) -> Layer:
    """The MLP of both towers: ``down(silu(gate) * up)``."""

    def run(hidden: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up(hidden).chunk(2, dim=-1)
        return down(silu(gate).mul_(up))

    return run
