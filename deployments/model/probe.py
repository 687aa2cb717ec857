"""Whether a loaded model answers like one: it is asked with and without a picture, by itself and through its engine."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from deployments.checkpoints import CheckpointError
from deployments.contract import Pixels
from deployments.model.loading import Loaded, reading
from deployments.model.prompt import Prompt
from deployments.model.soundness import is_constant, is_finite

SIDE = 112
"""Pixels of a probe's picture each way, where the model takes any."""
QUESTION = "?"
TOLERANCE = 0.05
"""Share of the logits' spread within which two ways to compute them agree: bfloat16 and NF4 round differently by it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question, and what the model itself says to it: float32 logits (vocabulary) of the answer's first token."""

    prompt: Prompt
    pictures: tuple[Pixels, ...]
    logits: torch.Tensor

    def check(self, token_ids: tuple[int, ...], eos_token_ids: tuple[int, ...]) -> None:
        """Raises CheckpointError unless an engine's greedy answer begins as the model's own, or nearly so."""
        begun = list(token_ids[:1] or eos_token_ids)
        spread = self.logits.max() - self.logits.min()
        if self.logits[begun].max() < self.logits.max() - TOLERANCE * spread:
            raise CheckpointError(
                f"the engine answers {begun[0]} where the model itself says {int(self.logits.argmax())}: it does not "
                "compute this checkpoint as transformers does; set args.model.engine: reference, and report it"
            )


def probes(loaded: Loaded) -> Iterator[Probe]:
    """One with a picture, one without. Raises CheckpointError when the model cannot answer, or nothing but nonsense."""
    checkpoint = str(loaded.model.name_or_path)
    for pictures in ((blank(loaded),), ()):
        with reading(f"config.json, weights and {loaded.kind.files['layout']}", checkpoint):
            prompt = loaded.writer().write(QUESTION, [loaded.layout.tokens(picture) for picture in pictures])
            logits = _logits(loaded, prompt, pictures)
        yield Probe(prompt, pictures, logits)


def blank(loaded: Loaded) -> Pixels:
    """A white picture as the model wants to see one."""
    side = loaded.layout.view.side or SIDE
    return np.full((side, side, 3), 255, np.uint8)


def check_answers(loaded: Loaded) -> None:
    """Raises CheckpointError as ``probes`` does."""
    for _ in probes(loaded):
        pass


@torch.inference_mode()
def _logits(loaded: Loaded, prompt: Prompt, pictures: tuple[Pixels, ...]) -> torch.Tensor:
    last: torch.Tensor = loaded.model(**loaded.inputs(prompt, pictures), logits_to_keep=1).logits[0, -1].float().cpu()
    if not is_finite(last):
        raise CheckpointError("the model answers with NaN or infinity")
    if is_constant(last):
        raise CheckpointError("the model finds all tokens alike")
    return last
