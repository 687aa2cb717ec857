"""What the checks of transformers checkpoints share on loading: one error for all that can be wrong with a folder."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deployments.checkpoints import CheckpointError, check_folder, in_short, read_json, read_weights, some
from deployments.preprocess.safety.check import SafetyCheck, Subject

LAYER = re.compile(r"\.(layer|layers|blocks|h)\.\d+\.")
BLANK = Subject(np.full((64, 64, 3), 255, np.uint8), "", "")


@contextmanager
def loading(folder: str, kind: str) -> Iterator[None]:
    """Raises CheckpointError, which names ``folder``, for whatever goes wrong inside."""
    try:
        if Path(folder).exists() or folder.startswith(("/", "./", "../", "~")):
            check_folder(Path(folder))
            read_json(Path(folder) / "config.json")
            read_weights(Path(folder))
        yield
    except CheckpointError as fault:
        raise CheckpointError(f"{folder} is no {kind} checkpoint: {fault}") from fault
    except Exception as fault:
        raise CheckpointError(
            f"{folder} is no {kind} checkpoint ({in_short(fault)}): name a folder with all its files as published"
        ) from fault


def check_weights(model: Any, told: dict[str, Any]) -> None:
    """Raises CheckpointError for weights missing, of another shape, no numbers, or of layers unknown to config.json.

    ``told`` is transformers' loading info. Weights of other heads may be left over: a classifier does without.
    """
    misfits = {str(name) for name in told["missing_keys"]} | {str(name) for name, *_ in told["mismatched_keys"]}
    if misfits:
        raise CheckpointError(f"its weights do not fit its config.json at {some(misfits)}")
    if left := {str(name) for name in told["unexpected_keys"] if LAYER.search(str(name))}:
        raise CheckpointError(f"its config.json lacks layers that its weights have, such as {some(left)}")
    odd = {name for name, parameter in model.named_parameters() if not torch.isfinite(parameter.detach().sum())}
    if odd:
        raise CheckpointError(f"its weights hold NaN or infinity in {some(odd)}: download it again")


def check_scores(check: SafetyCheck) -> None:
    """Ask once. Raises CheckpointError for scores that are no shares: NaN would let everything pass."""
    scores = check.scores(BLANK)
    if not scores or not all(0 <= score <= 1 + 1e-5 for score in scores.values()):
        raise CheckpointError(f"its scores are no shares: {dict(scores)}")
