"""Whether a replica fits its share of a GPU: told before anything is allocated, and measured once all is there.

Ray's fraction of a GPU is a scheduling ticket and limits nothing. Everything but ``OUTSIDE`` and ``GRAPH`` follows from
the model's shapes (``footprint.py``): 40 KiB of KV a token for the 9B, and what its steps allocate.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from deployments.model import footprint, quantizing
from deployments.model.families.family import Family, KVShape, Layout
from deployments.model.families.registry import kind_of
from deployments.model.footprint import Steps
from deployments.model.loading import Loaded
from deployments.model.rows.cache import RowCache
from deployments.model.rows.graphs import sizes
from deployments.model.settings import CheckpointError, ModelSettings, Quantization, RowSettings

logger = logging.getLogger("ray.serve")

MIB = 2**20
OUTSIDE = 600 * MIB
"""The CUDA context and its libraries, which torch's cap does not count."""
GRAPH = 8 * MIB
"""What the driver keeps of a captured decode step, outside torch's allocator too."""
SLACK = 256 * MIB
"""Of torch's allocator: two streams' workspaces of cuBLAS, and blocks that are not filled."""


class Misfit(CheckpointError):
    """The replica does not fit; the message has the figures, and what to lower."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a model, what its memory hangs on: bytes of its weights, of its KV a token and of its embeddings a token."""

    weights: int
    kv: KVShape
    hidden: int
    vocabulary: int
    dequantized: int
    steps: Steps
    """With what of the tower is dequantized at a time; of the text model that is ``dequantized``, where it counts."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a replica holds at its fullest.

    ``pictures`` are embeddings and features on their way into rows. A picture is seen (``vision``) while prompts are
    taken in (``steps``). ``graphs`` is what captured decode steps write to.
    """

    weights: int
    rows: int
    stores: int
    pictures: int
    steps: int
    vision: int
    graphs: int = 0
    slack: int = SLACK
    outside: int = OUTSIDE

    @property
    def total(self) -> int:
        return self.inside + self.outside

    @property
    def inside(self) -> int:
        """Of torch's allocator."""
        parts = (self.weights, self.rows, self.stores, self.pictures, self.steps, self.vision, self.graphs, self.slack)
        return sum(parts)

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "rows": self.rows,
            "stores": self.stores,
            "pictures on their way": self.pictures,
            "a step": self.steps,
            "vision": self.vision,
            "graphs": self.graphs,
            "slack": self.slack,
            "CUDA": self.outside,
        }
        return ", ".join(f"{name} {size / MIB:.0f} MB" for name, size in parts.items() if size)


def outside(settings: RowSettings) -> int:
    """Bytes of a replica on a GPU that torch's allocator knows nothing of."""
    return OUTSIDE + (
        GRAPH * len(sizes(settings.rows, settings.length, settings.bucket)) if settings.cuda_graphs else 0
    )


def cap(device: torch.device, settings: ModelSettings) -> None:
    """Keep this process within its share of the GPU: over it our own allocator raises, not a neighbour's."""
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device).total_memory
        within = settings.gpu_fraction - outside(settings.rows) / card
        torch.cuda.set_per_process_memory_fraction(max(0.0, within), device)


def check_fit(loaded: Loaded, settings: ModelSettings) -> None:
    """Raises Misfit when the loaded weights and the rows to come are more than the replica's share of its GPU."""
    if loaded.device.type == "cuda":
        shape = shape_of(loaded.model.config, loaded.layout, settings.rows, loaded.dtype, loaded.quantization)
        check(
            need(shape, settings.rows, loaded.dtype),
            share_of(loaded.device, settings),
            settings,
            shape.kv,
            loaded.dtype,
        )


def share_of(device: torch.device, settings: ModelSettings) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory * settings.gpu_fraction)


def shape_of(
    config: Any, layout: Layout, settings: RowSettings, dtype: torch.dtype, quantization: Quantization
) -> Shape:
    """Of the model that ``config`` makes, told on the meta device: nothing is allocated."""
    meta, kind = torch.device("meta"), kind_of(config.to_dict(), config.name_or_path)
    with meta:
        model = kind.blank(config, dtype).eval()
    planned = quantizing.planned_bytes(model, kind, quantization)
    family, beside = footprint.held_beside(lambda: kind.take_apart(model, layout))
    widths, (text, vision) = family.widths, quantizing.dequantized_bytes(model, kind, quantization)
    steps = footprint.steps(family, settings, dtype, meta)
    return Shape(
        weights=planned + beside,
        kv=family.kv_shape,
        hidden=widths.hidden * dtype.itemsize,
        vocabulary=widths.vocabulary,
        dequantized=text,
        steps=replace(steps, vision=steps.vision + vision),
    )


def need(shape: Shape, settings: RowSettings, dtype: torch.dtype, on_gpu: bool = True) -> Need:
    """What ``settings`` ask of the device. A quantized matrix is dequantized whole where no fused kernel runs."""
    graphs = on_gpu and settings.cuda_graphs
    decode = shape.steps.decode + shape.dequantized
    logits = settings.rows * shape.vocabulary * torch.float32.itemsize
    return Need(
        weights=shape.weights,
        rows=settings.rows * (settings.length + 1) * shape.kv.bytes_per_token(dtype),
        stores=(settings.prefix_store_mb + settings.feature_store_mb) * MIB,
        pictures=tokens_on_their_way(settings) * shape.hidden,
        steps=max(shape.steps.prefill + shape.dequantized, decode),
        vision=shape.steps.vision,
        graphs=decode + logits if graphs else 0,
        slack=SLACK if on_gpu else 0,
        outside=outside(settings) if on_gpu else 0,
    )


def tokens_on_their_way(settings: RowSettings) -> int:
    """Whose embeddings, or features, are held at most.

    Embedded: a prompt that is taken in, and as much of others as a step, and one prompt, more. Seen: what waits, as far
    as is looked ahead, and one picture more.
    """
    return 2 * settings.prefill_tokens + 3 * settings.length


def check(needed: Need, share: int, settings: ModelSettings, kv: KVShape, dtype: torch.dtype) -> None:
    """Raises Misfit when ``needed`` is more than ``share`` bytes, which are ``settings.gpu_fraction`` of the device."""
    missing = needed.total - share
    if missing <= 0:
        return
    fraction, rows = settings.gpu_fraction, settings.rows
    fewer = rows.rows - -(-missing // ((rows.length + 1) * kv.bytes_per_token(dtype)))
    lower = f"set args.model.rows.rows to {fewer}" if fewer >= 1 else "set quantization: nf4, or take a larger GPU"
    raise Misfit(
        f"the replica needs {needed.total / MIB:.0f} MB ({needed}) and has {share / MIB:.0f} MB, "
        f"{fraction:g} of the GPU: {missing / MIB:.0f} MB too much. Raise args.model.gpu_fraction to "
        f"{fraction * needed.total / share:.2f}, or {lower}, or shorten args.model.rows.length"
    )


class Meter(Protocol):
    """Of a device's memory, what this process holds of it."""

    def held(self) -> int:
        """Bytes at this moment."""
        ...

    def peak(self, work: Callable[[], Any]) -> int:
        """Most bytes that it holds while it does ``work``, beside what it held before."""
        ...


class CudaMeter:
    """By torch's allocator."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def held(self) -> int:
        return int(torch.cuda.memory_allocated(self._device))

    def peak(self, work: Callable[[], Any]) -> int:
        before = self.held()
        torch.cuda.reset_peak_memory_stats(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return int(torch.cuda.max_memory_allocated(self._device)) - before


@torch.inference_mode()
def measured(told: Need, family: Family, cache: RowCache, settings: RowSettings, meter: Meter) -> Need:
    """``told``, with what the largest steps really take, once weights, rows and graphs are there.

    ``cache`` is that of an engine that has nothing to do; its first row is cleared afterwards.
    """
    held = meter.held()
    steps = meter.peak(lambda: footprint.largest_prefill(family, cache, settings))
    cache.clear(0, cache.length)
    vision = meter.peak(lambda: footprint.largest_vision(family, settings))
    weights = held - told.rows - told.graphs
    return replace(told, weights=weights, steps=steps, vision=vision)


def check_measured(loaded: Loaded, family: Family, cache: RowCache, settings: ModelSettings) -> None:
    """Log the sum as it is. Raises Misfit when it is more than the share, whatever was told before."""
    if loaded.device.type != "cuda":
        return
    shape = shape_of(loaded.model.config, loaded.layout, settings.rows, loaded.dtype, loaded.quantization)
    told, share = need(shape, settings.rows, loaded.dtype), share_of(loaded.device, settings)
    found = measured(told, family, cache, settings.rows, CudaMeter(loaded.device))
    more = max(0, share - found.total) * settings.rows.rows // found.rows
    logger.info(
        "memory: %.0f MB of %.0f MB at its fullest, as measured: %s; %d rows more would fit",
        found.total / MIB, share / MIB, found, more,
    )  # fmt: skip
    check(found, share, settings, shape.kv, loaded.dtype)
