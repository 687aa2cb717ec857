"""A checkpoint stored in NF4: it loads in a fraction of the time, and reads a fraction of the bytes."""

from pathlib import Path

from deployments.model import quantizing
from deployments.model.loading import load
from deployments.model.settings import ModelSettings
from serve_app.graph import absolute


def quantize(checkpoint: str, folder: Path, revision: str | None = None) -> str:
    """Quantize a checkpoint (a folder, or a repository on the hub) into ``folder``; returns what came of it, in words.

    Raises CheckpointError.
    """
    loaded = load(
        ModelSettings(checkpoint=absolute(checkpoint), revision=revision, quantization="nf4", dtype="bfloat16")
    )
    loaded.save(folder)
    layers, found = len(quantizing.quantized(loaded.model)), quantizing.weight_bytes(loaded.model)
    small, kept, before = (size / 1e6 for size in (found["quantized"], found["kept"], loaded.parameters * 2))
    return (
        f"{layers} layers in NF4, {small:.1f} MB; vision tower, embedding and head left in bfloat16, {kept:.1f} MB; "
        f"together {small + kept:.1f} MB, {(small + kept) / before:.0%} of the {before:.1f} MB in bfloat16"
    )
