"""Whether loaded weights are a model's: none missing, none left over, and all of them numbers."""

from math import prod
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from deployments.checkpoints import AGAIN, CheckpointError, read_weights, some
from deployments.model import quantizing
from deployments.model.families.family import Kind

COMPUTED = ("inv_freq", "position_ids")
"""Buffers that old checkpoints hold, and that follow from the config."""
PACKED = 3
"""More weights than values stored: NF4 packs two into a byte."""


def check_size(kind: Kind, config: PreTrainedConfig, checkpoint: str, folder: Path) -> None:
    """Raises CheckpointError when ``config`` makes a model much larger than the weights in ``folder``.

    transformers would fill the rest with random values, tens of gigabytes where a part of the config is missing: the
    kernel would end the process first.
    """
    with torch.device("meta"):
        expected = int(kind.blank(config, None).num_parameters())
    held = sum(prod(tensor.shape) for tensor in read_weights(folder).values())
    if held and expected > PACKED * held:
        raise CheckpointError(
            f"config.json of checkpoint {checkpoint} is of a model of {expected:,} weights, and its files hold "
            f"{held:,}: take both from one model"
        )


def check_complete(report: dict[str, Any], checkpoint: str) -> None:
    """Raises CheckpointError when weights were missing or of another shape, and would be random, or were left over.

    ``report`` is transformers' loading info; what the model's class ignores on loading is not in it.
    """
    if lacking := {str(key) for key in report["missing_keys"]}:
        raise CheckpointError(
            f"checkpoint {checkpoint} lacks {len(lacking)} weights of its config, such as {some(lacking)}: {AGAIN}"
        )
    for name, stored, expected in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            f"weight {name} of checkpoint {checkpoint} has shape {tuple(stored)}, and by config.json it has "
            f"{tuple(expected)}: weights and config.json are of two models, take both from one"
        )
    if left := {str(key) for key in report["unexpected_keys"] if not str(key).endswith(COMPUTED)}:
        raise CheckpointError(
            f"checkpoint {checkpoint} has {len(left)} weights that its config.json does not know, such as "
            f"{some(left)}: config.json lacks a layer, or is of another model"
        )


def check_values(model: PreTrainedModel, checkpoint: str) -> None:
    """Raises CheckpointError for a weight that holds NaN or infinity, and for a matrix of one value, as zeros are.

    A download that broke off after its space was reserved ends in zeros.
    """
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and not is_finite(buffer):
            raise CheckpointError(f"config.json of checkpoint {checkpoint} makes {name} NaN or infinity: {AGAIN}")
    for name, parameter in model.named_parameters():
        tensor = parameter.detach()
        if tensor.is_floating_point():
            _check_value(name, tensor, checkpoint, is_empty=tensor.ndim > 1 and is_constant(tensor))
    for name, layer in quantizing.quantized(model).items():
        scale = quantizing.scale(layer)
        _check_value(f"{name}.weight", scale, checkpoint, is_empty=not scale.any())


def _check_value(name: str, tensor: torch.Tensor, checkpoint: str, is_empty: bool) -> None:
    if is_empty:
        raise CheckpointError(f"weight {name} of checkpoint {checkpoint} is one value throughout: {AGAIN}")
    if not is_finite(tensor):
        raise CheckpointError(f"weight {name} of checkpoint {checkpoint} holds NaN or infinity: {AGAIN}")


def is_finite(tensor: torch.Tensor) -> bool:
    """A sum takes a thirtieth of the time, and is finite only if all is; one that is not may have overflowed."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def is_constant(tensor: torch.Tensor) -> bool:
    """Whether all values are the same; the first thousand tell it of a model's weights."""
    flat = tensor.flatten()
    return flat.numel() > 1 and bool((flat[:1000] == flat[0]).all()) and bool((flat == flat[0]).all())
