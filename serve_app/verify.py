"""Whether a checkpoint answers as it should on this machine: loaded as a replica loads it, and asked about pictures.

What no test can know without the real weights (a rotary base, a scale, how pictures are to be prepared, how good the
answers are) shows in answers about pictures whose every text is known.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.model.checkpoint import inspect
from deployments.model.engine import Generation
from deployments.model.loading import Loaded
from deployments.model.settings import CheckpointError, ModelKnobs, ModelSettings
from deployments.model.vision_model import VisionModel
from serve_app.graph import absolute
from serve_app.settings import ROOT

SAMPLES = ROOT / "demo" / "samples"
INDEX = "samples.json"
TRANSCRIPTION = "提取全部文字"
"""Asked too, and not counted: line breaks and order are a matter of taste."""
LEFTOVERS = ("<|", "|>", "[gMASK]", "<sop>")
KNOBS = ModelKnobs(level="fast", max_new_tokens=256, default_max_new_tokens=256)

Say = Callable[[str], None]
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a picture, what stands there, and what came."""

    file: str
    question: str
    expected: str
    generation: Generation
    took_s: float

    @property
    def is_right(self) -> bool:
        """Whether what stands there is in the answer, wherever spaces and line breaks are."""
        return "".join(self.expected.split()) in "".join(self.generation.text.split())

    @property
    def counts(self) -> bool:
        return self.question != TRANSCRIPTION

    def __str__(self) -> str:
        mark = ("right" if self.is_right else "WRONG") if self.counts else "-"
        return (
            f"{mark:<6}{self.file} {self.question} → {self.generation.text!r} (there: {self.expected!r}; "
            f"{self.generation.finish_reason}, {self.generation.usage.completion_tokens} tokens, {self.took_s:.1f} s)"
        )


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    passed: bool
    told: str

    def __str__(self) -> str:
        return f"{'ok' if self.passed else 'FAILED':<7}{self.name}: {self.told}"


def verify(settings: ModelSettings, least: float, samples: Path, say: Say) -> bool:
    """Whether every check passed; each is told by ``say`` as it is done. ``least`` is the share of right answers.

    Raises CheckpointError for what cannot be loaded, OSError or ValueError for samples that cannot be read.
    """
    entries = json.loads((samples / INDEX).read_text(encoding="utf-8"))
    settings = settings.model_copy(update={"checkpoint": absolute(settings.checkpoint)})
    passed = True
    for check in _checks(settings, least, samples, entries, say):
        say(str(check))
        passed = passed and check.passed
    return passed


def _checks(settings: ModelSettings, least: float, samples: Path, entries: list[Entry], say: Say) -> Iterator[Check]:
    inspect(settings.checkpoint)
    yield Check("files", True, "all that the family needs is there")
    began = time.perf_counter()
    model = VisionModel.load(settings, KNOBS)
    try:
        yield Check(
            "weights", True, f"each used once, none made up, in {time.perf_counter() - began:.0f} s; {model.banner()}"
        )
        for name, told in model.loaded.kind.facts(model.loaded.model.config).items():
            say(f"       {name}: {told}")
        yield _ends(model.loaded)
        yield _prompt(model.loaded)
        yield _engine(model)
        asked = []
        for one in _asked(model, samples, entries):
            say(f"       {one}")
            asked.append(one)
        yield from _judged(asked, least)
    finally:
        model.close()


def _ends(loaded: Loaded) -> Check:
    names = [str(loaded.tokenizer.convert_ids_to_tokens(token)) for token in loaded.eos_token_ids]
    return Check("end tokens", all(names), ", ".join(names))


def _prompt(loaded: Loaded) -> Check:
    """The prompt as the model reads it, of a picture's tokens one in their middle."""
    tokens = loaded.layout.view.tokens or 4
    prompt = loaded.writer().write("?", [tokens])
    ids, pictured = prompt.input_ids[0].tolist(), prompt.mm_token_type_ids[0].tolist()
    shown = [id for place, id in enumerate(ids) if not pictured[place] or ids[place - 1] != id]
    return Check("prompt", prompt.image_tokens == tokens, repr(loaded.tokenizer.decode(shown)))


def _engine(model: VisionModel) -> Check:
    try:
        model.warm_up()
    except CheckpointError as fault:
        return Check("engine", False, str(fault))
    return Check("engine", True, "begins its answers as the model itself does, with a picture and without")


def _asked(model: VisionModel, samples: Path, entries: list[Entry]) -> Iterator[Asked]:
    for entry in entries:
        for question, expected in zip(entry["questions"], entry["answers"], strict=True):
            began = time.perf_counter()
            generation = model.generate(samples / entry["file"], question)
            yield Asked(entry["file"], question, expected, generation, time.perf_counter() - began)


def _judged(asked: list[Asked], least: float) -> Iterator[Check]:
    counted = [one for one in asked if one.counts]
    right = sum(one.is_right for one in counted)
    share = right / max(1, len(counted))
    yield Check(
        "answers", share >= least, f"{right} of {len(counted)} right ({share:.0%}; at least {least:.0%} wanted)"
    )
    left = [one for one in asked if any(mark in one.generation.text for mark in LEFTOVERS)]
    yield Check("leftovers", not left, f"{len(left)} answers hold control tokens")
    reasons = Counter(one.generation.finish_reason for one in asked)
    yield Check("ends", not reasons["repetition"], ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    said = {one.generation.text for one in asked}
    yield Check("attention", len(said) > len(asked) / 4, f"{len(said)} different answers to {len(asked)} questions")
