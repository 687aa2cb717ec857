"""What a folder of GLM-4V-9B must hold, as it was published or stored by this package, told without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.checkpoints import AGAIN, CheckpointError, beginning, is_there, read_json
from deployments.contract import View

MODEL_TYPE = "chatglm"
TITLE = f"{MODEL_TYPE} with a vision_config (GLM-4V-9B)"

RANKS = "tokenizer.model"
"""Published: the words of the tokenizer, a line each, in tiktoken's format."""
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


def is_of(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == MODEL_TYPE and isinstance(config.get("vision_config"), Mapping)


def view(config: Mapping[str, Any]) -> View:
    """One picture of a fixed size, whatever it was. Raises CheckpointError where the config does not say which."""
    eyes = config["vision_config"]
    side, patch = eyes.get("image_size"), eyes.get("patch_size")
    if not (isinstance(side, int) and isinstance(patch, int) and 0 < patch <= side):
        raise CheckpointError(f"vision_config says image_size {side!r} and patch_size {patch!r}: {AGAIN}")
    return View(side=side, tokens=(side // patch // 2) ** 2 + 2, tiles=False)


def positions(config: Mapping[str, Any]) -> int | None:
    found = config.get("seq_length")
    return found if isinstance(found, int) else None


def inspect(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises CheckpointError with the file and what to do."""
    told = read_json(folder / TOKENIZER_CONFIG)
    if is_there(folder / TOKENIZER):
        read_json(folder / TOKENIZER)
    else:
        beginning(folder / RANKS)
    wanted, known = view(config).side, told.get("image_size")
    if known is not None and known != wanted:
        raise CheckpointError(
            f"{folder / TOKENIZER_CONFIG} prepares pictures of {known} pixels a side, and config.json is of a tower "
            f"that sees {wanted}: take both from one model"
        )
