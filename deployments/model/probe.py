"""Whether a loaded model answers like one: it is asked with and without a picture, by itself and through its engine."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from deployments.checkpoints import CheckpointError
from deployments.contract import Pixels
from deployments.model.loading import Loaded, reading
from deployments.model.pixels import token_count
from deployments.model.prompt import Prompt, PromptWriter
from deployments.model.reference import inputs_of
from deployments.model.soundness import is_constant, is_finite

BLANK = np.full((112, 112, 3), 255, np.uint8)
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
    writer = PromptWriter(loaded.tokenizer, loaded.model.config.image_token_id)
    checkpoint = str(loaded.model.name_or_path)
    for pictures in ((BLANK,), ()):
        with reading("config.json, weights and preprocessor_config.json", checkpoint):
            tokens = [token_count(picture.shape[0], picture.shape[1], loaded.layout) for picture in pictures]
            prompt = writer.write(QUESTION, tokens)
            logits = _logits(loaded, prompt, pictures)
        yield Probe(prompt, pictures, logits)


def check_answers(loaded: Loaded) -> None:
    """Raises CheckpointError as ``probes`` does."""
    for _ in probes(loaded):
        pass


@torch.inference_mode()
def _logits(loaded: Loaded, prompt: Prompt, pictures: tuple[Pixels, ...]) -> torch.Tensor:
    logits = loaded.model(**inputs_of(loaded, prompt, pictures)).logits[0].float()
    if not is_finite(logits):
        raise CheckpointError("the model answers with NaN or infinity")
    if is_constant(logits[-1]):
        raise CheckpointError("the model finds all tokens alike")
    last: torch.Tensor = logits[-1].cpu()
    return last
