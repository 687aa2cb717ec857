"""NF4 by bitsandbytes: what is quantized and what is not, whether it can be, and what it saves."""

from typing import Any, get_args

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from deployments.model.families.family import Kind
from deployments.model.settings import CheckpointError, Quantization

INPUTS, OUTPUTS = 64, 32
"""What bitsandbytes' kernels on the CPU take: layers whose inputs and outputs are multiples of these."""


def kept(kind: Kind, quantization: Quantization) -> list[str]:
    """What stays in the compute type: the head, and the vision tower unless it is asked for.

    These patterns match from the start of a module's full name: "visual" alone matches nothing in transformers 5 and
    silently quantizes the vision tower. A list replaces the default one, so it names the head.
    """
    return [kind.head] if quantization == "nf4+vision" else [kind.tower, kind.head]


def recipe(dtype: torch.dtype, left: list[str]) -> BitsAndBytesConfig:
    """NF4 with double quantization, computing in ``dtype``; the modules ``left`` are not quantized."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=left,
    )


def stored(config: PreTrainedConfig, kind: Kind) -> str | None:
    """How a checkpoint's weights are stored quantized ("nf4", or whatever else it says); None if they are not."""
    found: dict[str, Any] | None = getattr(config, "quantization_config", None)
    if not found:
        return None
    if found.get("bnb_4bit_quant_type") != "nf4":
        return str(found.get("bnb_4bit_quant_type") or found.get("quant_method"))
    return "nf4" if kind.tower in (found.get("llm_int8_skip_modules") or ()) else "nf4+vision"


def check_stored(config: PreTrainedConfig, kind: Kind, wanted: Quantization, checkpoint: str) -> None:
    """Raises CheckpointError when a checkpoint is stored in another quantization than the one wanted."""
    found = stored(config, kind)
    if found is not None and found != wanted:
        is_ours = found in get_args(Quantization)
        hint = f"set args.model.quantization: {found}" if is_ours else "take the unquantized checkpoint"
        raise CheckpointError(f"checkpoint {checkpoint} is stored in {found}, and quantization is {wanted}: {hint}")


def quantized(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The quantized layers, by name."""
    if not getattr(model, "is_loaded_in_4bit", False):
        return {}
    from bitsandbytes.nn import Linear4bit

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def finish(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Have a loaded model compute in ``dtype``, whatever it was stored for.

    Raises CheckpointError when a layer cannot run on its device.
    """
    for name, layer in quantized(model).items():
        inputs, outputs = int(layer.in_features), int(layer.out_features)  # type: ignore[arg-type]
        if model.device.type == "cpu" and (inputs % INPUTS or outputs % OUTPUTS):
            raise CheckpointError(
                f"NF4 on the CPU takes layers with inputs in multiples of {INPUTS} and outputs in multiples of "
                f"{OUTPUTS}; {name} has {inputs} and {outputs}: set args.model.quantization: none"
            )
        layer.compute_dtype = dtype  # type: ignore[assignment]
    for parameter in model.parameters():  # transformers leaves some of a stored checkpoint in the type they came in
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def weight_bytes(model: PreTrainedModel) -> dict[str, int]:
    """Bytes of the weights by what becomes of them: ``quantized`` (their scales included) and ``kept``."""
    layers = quantized(model)
    scales = sum(_bytes_of_scales(layer.weight) for layer in layers.values())
    inside = {id(layer.weight) for layer in layers.values()}
    total = {True: 0, False: 0}
    for parameter in model.parameters():
        total[id(parameter) in inside] += parameter.nbytes
    return {"quantized": total[True] + scales, "kept": total[False]}


def planned_bytes(model: PreTrainedModel, kind: Kind, quantization: Quantization) -> int:
    """Bytes that the weights of a model, on the meta device say, will take: those of the layers to quantize in NF4."""
    held = sum(int(tensor.nbytes) for tensor in (*model.parameters(), *model.buffers()))
    weights = planned(model, kind, quantization).values()
    return held + sum(_nf4_bytes(weight.numel()) - int(weight.nbytes) for weight in weights)


def planned(model: PreTrainedModel, kind: Kind, quantization: Quantization) -> dict[str, torch.Tensor]:
    """The matrices to quantize, by their layers' names."""
    if quantization == "none":
        return {}
    left = tuple(kept(kind, quantization))
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    return {name: layer.weight for name, layer in linear.items() if not name.startswith(left)}


def dequantized_bytes(model: PreTrainedModel, kind: Kind, quantization: Quantization) -> tuple[int, int]:
    """Of the largest matrix of the text model, and of the vision tower: whole where no fused kernel runs."""
    sizes = {name: int(weight.nbytes) for name, weight in planned(model, kind, quantization).items()}
    towers = {name for name in sizes if name.startswith(kind.tower)}
    text, vision = (max((sizes[name] for name in names), default=0) for names in (sizes.keys() - towers, towers))
    return text, vision


def _nf4_bytes(values: int) -> int:
    """Two values a byte; a scale of a byte for 64 of them, one of four for 256 of those; and the tables of both."""
    blocks = -(-values // 64)
    return -(-values // 2) + blocks + 4 * -(-blocks // 256) + 4 * (16 + 256 + 1)


def scale(layer: nn.Module) -> torch.Tensor:
    """The scales of a quantized layer's blocks, or their mean where they are quantized too: NaN if one of them is."""
    state: Any = layer.weight.quant_state  # type: ignore[union-attr]
    found: torch.Tensor = state.offset if state.nested else state.absmax
    return found


def _bytes_of_scales(weight: Any) -> int:
    state = weight.quant_state
    nested = [state.state2.absmax, state.state2.code, state.offset] if state.nested else []
    return sum(int(tensor.nbytes) for tensor in (state.absmax, state.code, *nested))
