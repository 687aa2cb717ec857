"""Decode steps of the 9B on one GPU: ``python -m benchmarks.gpu_engine [--json OUT]``.

A randomly initialised model of GLM-4.6V-Flash's shape, in bfloat16 and in NF4: milliseconds a step at 1 to 32 rows,
eager and replayed from CUDA graphs, against the time that the GPU takes to read the weights and the rows once. Its
memory bandwidth is measured in the same run. No checkpoint is needed. ``--small`` tries the script out, on the CPU too;
its figures mean nothing.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Glm46VConfig, Glm46VForConditionalGeneration, PreTrainedModel

from deployments.model.families.family import Family
from deployments.model.families.glm46v.adapter import Glm
from deployments.model.pixels import PatchLayout
from deployments.model.rows.cache import RowCache
from deployments.model.rows.decode import EagerForward, Fed
from deployments.model.rows.graphs import GraphedForward

ROWS = (1, 4, 8, 16, 32)
TEXT = {
    "model_type": "glm4v_text", "vocab_size": 151552, "hidden_size": 4096, "intermediate_size": 13696,
    "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 2, "max_position_embeddings": 65536,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "mrope_section": [8, 12, 12],
    },
}  # fmt: skip
VISION = {
    "model_type": "glm4v_vision", "depth": 24, "hidden_size": 1536, "num_heads": 12, "intermediate_size": 13696,
    "out_hidden_size": 4096, "image_size": 336, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
}  # fmt: skip
SMALL = {"vocab_size": 1024, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
SMALL_VISION = {"depth": 1, "hidden_size": 64, "num_heads": 4, "intermediate_size": 128, "out_hidden_size": 256}


@dataclass(frozen=True, slots=True)
class Step:
    """Milliseconds of one decode step; ``graph_ms`` is None where there are no graphs."""

    weights: str
    rows: int
    eager_ms: float
    graph_ms: float | None
    bound_ms: float

    @property
    def share(self) -> float:
        """Of the bound that the faster one reaches."""
        return self.bound_ms / min(self.eager_ms, self.graph_ms or self.eager_ms)


def build(device: torch.device, small: bool) -> PreTrainedModel:
    """Random weights, made on the device."""
    config = Glm46VConfig(
        text_config=TEXT | (SMALL if small else {}), vision_config=VISION | (SMALL_VISION if small else {})
    )
    with device:
        return Glm46VForConditionalGeneration._from_config(config, dtype=torch.bfloat16).eval()


def quantize(model: PreTrainedModel) -> None:
    """The text layers' matrices in NF4 with double quantization, as ``loading`` has them."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for parent in list(model.model.language_model.layers.modules()):
        for name, linear in parent.named_children():
            if type(linear) is nn.Linear:
                layer = Linear4bit(linear.in_features, linear.out_features, bias=linear.bias is not None,
                                   compute_dtype=torch.bfloat16, quant_type="nf4", device="meta")  # fmt: skip
                weight = linear.weight.data.cpu()
                layer.weight = Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
                layer.bias = linear.bias
                setattr(parent, name, layer.to(linear.weight.device))


def step_bytes(model: PreTrainedModel) -> int:
    """Bytes of the weights that every step reads: text layers, with their scales, and head."""
    read = nn.ModuleList([model.model.language_model.layers, model.lm_head])
    return sum(tensor.nbytes for tensor in read.state_dict().values())


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a large copy on the device reads and writes."""
    source = torch.randint(0, 255, (2**31 if device.type == "cuda" else 2**26,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), device)


def seconds(work: Callable[[], Any], device: torch.device, repeats: int = 30) -> float:
    """Median seconds, the device's queue emptied before and after each."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = []
    for _ in range(repeats + 5):
        wait()
        began = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - began)
    return median(times[5:])


@torch.inference_mode()
def measure(
    weights: str, family: Family, read: int, length: int, bytes_per_s: float, device: torch.device
) -> list[Step]:
    cache = RowCache(family.kv_shape, max(ROWS), length, torch.bfloat16, device)
    cache.kv.normal_()
    eager = EagerForward(family, cache)
    graphed = GraphedForward(eager, cache, length, family.widths.vocabulary) if device.type == "cuda" else None
    if graphed:
        graphed.capture()
    steps = []
    for rows in ROWS:
        every, last = np.arange(rows), np.full(rows, length - 1)
        fed = Fed(every, every, last, last)
        kv = rows * length * family.kv_shape.bytes_per_token(torch.bfloat16)
        eager_s = seconds(partial(eager, fed), device)
        graph_s = seconds(partial(graphed, fed), device) if graphed else None
        bound_s = (read + kv) / bytes_per_s
        steps.append(Step(weights, rows, eager_s * 1e3, graph_s and graph_s * 1e3, bound_s * 1e3))
        if graphed:
            error = (graphed(fed) - eager(fed)).norm() / eager(fed).norm()
            assert error < 1e-2, f"graphs differ from eager by {error:.1e}"
    return steps


def table(steps: list[Step], bytes_per_s: float, length: int) -> str:
    lines = ["| weights | rows | eager ms | graph ms | bound ms | share of the bound |", "|---|---|---|---|---|---|"]
    for step in steps:
        graph = f"{step.graph_ms:.2f}" if step.graph_ms else "none"
        lines.append(
            f"| {step.weights} | {step.rows} | {step.eager_ms:.2f} | {graph} | {step.bound_ms:.2f} | {step.share:.0%} |"
        )
    lines.append(f"\nRows of {length} tokens; memory bandwidth {bytes_per_s / 1e9:.0f} GB/s.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_engine", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--length", type=int, default=1024, help="tokens of each row (default %(default)s)")
    parser.add_argument("--small", action="store_true", help="a small shape, to try the script")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.small:
        parser.error("no GPU here: --small tries the script on the CPU")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bytes_per_s = bandwidth(device)
    model = build(device, options.small)
    layout = PatchLayout(14, 2, 2, (0.5,) * 3, (0.5,) * 3)
    steps = []
    for weights in ("bfloat16", "nf4"):
        if weights == "nf4":
            quantize(model)
        steps += measure(weights, Glm(model, layout), step_bytes(model), options.length, bytes_per_s, device)
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU")
    print(table(steps, bytes_per_s, options.length))
    if options.json:
        result = {
            "bandwidth_gb_per_s": bytes_per_s / 1e9,
            "steps": [asdict(step) | {"share": step.share} for step in steps],
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
