"""A checkpoint stored in NF4: it loads in a fraction of the time, and reads a fraction of the bytes."""

import shutil
from pathlib import Path
from shutil import rmtree

from safetensors import SafetensorError

from deployments.model import quantizing
from deployments.model.loading import load
from deployments.model.probe import check_answers
from deployments.model.settings import CheckpointError, ModelSettings, Quantization
from serve_app.graph import absolute


def quantize(checkpoint: str, folder: Path, revision: str | None = None, vision: bool = False) -> str:
    """Quantize a checkpoint (a folder, or a repository on the hub) into ``folder``; returns what came of it, in words.

    With ``vision`` the vision tower too. The folder, new or empty, is there only once it is complete. Raises
    CheckpointError, or OSError when it cannot be written.
    """
    whole = folder.resolve()
    part = whole.with_name(f".{whole.name}.partial")
    part.mkdir(parents=True, exist_ok=True)  # before the long work, to see that it can be written
    try:
        made = _quantized(checkpoint, part, revision, "nf4+vision" if vision else "nf4")
        part.replace(whole)
    except SafetensorError as fault:
        raise OSError(str(fault)) from fault
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return made


def _quantized(checkpoint: str, folder: Path, revision: str | None, quantization: Quantization) -> str:
    loaded = load(
        ModelSettings(checkpoint=absolute(checkpoint), revision=revision, quantization=quantization, dtype="bfloat16")
    )
    loaded.save(folder)
    try:
        check_answers(loaded)  # not before it is saved: the first forward repacks the weights
    except CheckpointError:
        rmtree(folder)
        raise
    layers, found = len(quantizing.quantized(loaded.model)), quantizing.weight_bytes(loaded.model)
    small, kept, before = (size / 1e6 for size in (found["quantized"], found["kept"], loaded.parameters * 2))
    left = "vision tower, embedding and head" if quantization == "nf4" else "embedding and head"
    return (
        f"{layers} layers in NF4, {small:.1f} MB; {left} left in bfloat16, {kept:.1f} MB; "
        f"together {small + kept:.1f} MB, {(small + kept) / before:.0%} of the {before:.1f} MB in bfloat16"
    )
