"""Whether a replica fits its share of a GPU, computed before anything is allocated, and the cap that keeps it there.

Ray's fraction of a GPU is a scheduling ticket and limits nothing. Sources of the figures: ``docs`` of the model family
(40 KiB of KV a token for the 9B), and transformers' and bitsandbytes' own buffers.
"""

from dataclasses import dataclass

import torch

from deployments.model.families.family import Family, KVShape, Widths
from deployments.model.loading import Loaded
from deployments.model.settings import CheckpointError, ModelSettings, RowSettings

MIB = 2**20
CONTEXT = 600 * MIB
"""CUDA context, libraries and the allocator's slack, which torch's cap does not count."""


class Misfit(CheckpointError):
    """The replica does not fit; the message has the figures, and what to lower."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a replica will hold at its fullest."""

    weights: int
    rows: int
    stores: int
    workspace: int
    context: int = CONTEXT

    @property
    def total(self) -> int:
        return self.weights + self.rows + self.stores + self.workspace + self.context

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "rows": self.rows,
            "stores": self.stores,
            "workspace": self.workspace,
            "CUDA": self.context,
        }
        return ", ".join(f"{name} {size / MIB:.0f} MB" for name, size in parts.items())


def cap(device: torch.device, fraction: float) -> None:
    """Keep this process within its share of the GPU: over it our own allocator raises, not a neighbour's."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(fraction, device)


def check_fit(loaded: Loaded, family: Family, settings: ModelSettings) -> None:
    """Raises Misfit when the loaded weights and the rows to come are more than the replica's share of its GPU."""
    if loaded.device.type != "cuda":
        return
    share = int(torch.cuda.get_device_properties(loaded.device).total_memory * settings.gpu_fraction)
    shape, quantized = family.kv_shape, loaded.quantization != "none"
    weights = int(loaded.model.get_memory_footprint())
    needed = need(weights, shape, family.widths, settings.rows, loaded.dtype, quantized)
    check(needed, share, settings.gpu_fraction, settings.rows, shape.bytes_per_token(loaded.dtype))


def need(
    weights: int, shape: KVShape, widths: Widths, settings: RowSettings, dtype: torch.dtype, quantized: bool
) -> Need:
    """What ``settings`` ask of the device, beside ``weights`` bytes of parameters."""
    return Need(
        weights=weights,
        rows=settings.rows * (settings.length + 1) * shape.bytes_per_token(dtype),
        stores=(settings.prefix_store_mb + settings.feature_store_mb) * MIB,
        workspace=_workspace(widths, settings, dtype, quantized),
    )


def _workspace(widths: Widths, settings: RowSettings, dtype: torch.dtype, quantized: bool) -> int:
    """The larger of a prefill and of the vision tower, the logits of a step, and a dequantized matrix."""
    size = dtype.itemsize
    prefill = settings.prefill_tokens * (3 * widths.intermediate + 6 * widths.hidden) * size
    # A visual token of the language model is four patches of the vision tower.
    patches = 4 * settings.prefill_tokens
    vision = patches * (3 * widths.vision_intermediate + 6 * widths.vision_hidden) * size
    logits = 3 * settings.rows * widths.vocabulary * torch.float32.itemsize
    return max(prefill, vision) + logits + (widths.largest_weight * size if quantized else 0)


def check(needed: Need, share: int, fraction: float, settings: RowSettings, kv_bytes_per_token: int) -> None:
    """Raises Misfit when ``needed`` is more than ``share`` bytes, which are ``fraction`` of the device."""
    missing = needed.total - share
    if missing <= 0:
        return
    row = (settings.length + 1) * kv_bytes_per_token
    fewer = settings.rows - -(-missing // row)
    lower = f"set args.model.rows.rows to {fewer}" if fewer >= 1 else "set quantization: nf4, or take a larger GPU"
    raise Misfit(
        f"the replica needs {needed.total / MIB:.0f} MB ({needed}) and has {share / MIB:.0f} MB, "
        f"{fraction:g} of the GPU: {missing / MIB:.0f} MB too much. Raise args.model.gpu_fraction to "
        f"{fraction * needed.total / share:.2f}, or {lower}, or shorten args.model.rows.length"
    )
