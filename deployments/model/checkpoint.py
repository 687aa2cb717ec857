"""Whether a folder can be a checkpoint that this package serves, told from its files alone, without torch."""

from pathlib import Path
from typing import Any

from deployments.checkpoints import CheckpointError, check_folder, is_there, read_json, read_weights
from deployments.model import generation
from deployments.model.families.registry import entry_of
from deployments.model.generation import GENERATION

CONFIG = "config.json"

FLOATS = ("F64", "F32", "F16", "BF16")


def inspect(checkpoint: str | Path) -> None:
    """Look at all files of a checkpoint but the weights themselves, in milliseconds.

    Raises CheckpointError with the file and what to do. The name of a repository on the hub passes.
    """
    folder = local_folder(checkpoint)
    if folder is None:
        return
    check_folder(folder)
    config = read_config(folder)
    if is_there(folder / GENERATION):
        generation.check(read_json(folder / GENERATION), str(folder))
    entry_of(config, folder).inspect(folder, config)
    _check_types(folder, config)


def local_folder(checkpoint: str | Path) -> Path | None:
    """Where a checkpoint lies that is a folder; None for the name of a repository on the hub."""
    path = Path(checkpoint).expanduser()
    is_path = str(checkpoint).startswith(("/", "./", "../", "~")) or path.exists()
    return path if is_path else None


def read_config(folder: Path) -> dict[str, Any]:
    """Raises CheckpointError, for a family that is not served too."""
    if not is_there(folder / CONFIG):
        raise CheckpointError(
            f"checkpoint folder {folder} has no {CONFIG}: set args.model.checkpoint to a downloaded checkpoint's folder"
        )
    config = read_json(folder / CONFIG)
    entry_of(config, folder)
    return config


def _check_types(folder: Path, config: dict[str, Any]) -> None:
    """Weights that are no floats are quantized ones, and mean nothing unless ``config.json`` says how."""
    tensors = read_weights(folder)
    if config.get("quantization_config"):
        return
    odd = {name: tensor.dtype for name, tensor in tensors.items() if _is_weight(name) and tensor.dtype not in FLOATS}
    if odd:
        name = min(odd)
        raise CheckpointError(
            f"{folder} stores {len(odd)} weights in a type that {CONFIG} says nothing of (no quantization_config), "
            f"{name} as {odd[name]}: take the checkpoint as published, or the unquantized one"
        )


def _is_weight(name: str) -> bool:
    return name.endswith((".weight", ".bias"))
