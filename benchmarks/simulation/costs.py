"""What an engine's work costs, measured on a kind of machine, and what is asked of it."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds: of a step by itself, of each row in it, of each prompt token, of each picture's seeing.

    ``rows`` and ``prefill_tokens`` are the engine's own. Pictures are seen beside the steps. ``prepare_s`` is what lies
    between the ingress and the model; a replica is there ``start_s`` after it was asked for.
    """

    step_s: float
    row_s: float
    token_s: float
    picture_s: float
    rows: int = 16
    prefill_tokens: int = 256
    prepare_s: float = 0.02
    start_s: float = 20.0


COSTS = {
    "demo-cpu": Costs(step_s=0.0024, row_s=0.00075, token_s=0.00011, picture_s=0.03),
    # By memory bandwidth (9B in NF4, its KV read once a step), prompts at a third of the card's rate. Not measured.
    "h100-half": Costs(
        step_s=0.012, row_s=0.0002, token_s=0.00012, picture_s=0.02, rows=64, prefill_tokens=2048, start_s=90.0
    ),
}
"""By kind; those of ``demo-cpu`` set by hand near the service's capacity on two cores (docs/load.md)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: when it arrives, whose it is, its prompt's and its answer's tokens."""

    at: float
    user: str
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Mix:
    """Half field questions, half transcriptions, as in ``benchmarks.load``; tokens as the demo's answers have them."""

    prompt: tuple[int, int] = (110, 190)
    field: tuple[int, int] = (3, 14)
    transcription: tuple[int, int] = (35, 110)

    def asked(self, times: list[float], users: list[str], seed: int) -> list[Asked]:
        rng = random.Random(seed)
        found = []
        for number, at in enumerate(times):
            kind = self.transcription if rng.random() < 0.5 else self.field
            user = users[number % len(users)] if users else ""
            found.append(Asked(at, user, rng.randint(*self.prompt), rng.randint(*kind)))
        return found
