"""The questions of a run: held-out demo pictures as PNG and JPEG files, none of which is asked about twice.

Files are kept between runs, in a folder that is named by what draws them.
"""

import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from demo.evaluate import Case
from demo.families import FAMILIES
from demo.pictures import seeds
from demo.scores import MAIN

ROOT = Path(__file__).resolve().parents[2]
SEEDS_APART = 100
JPEG_QUALITY = 92
WARM_UP = range(900_000, 900_016)
"""Numbers of the pictures that a service is warmed up with."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What a question's number says of it: all families in turn, half of the questions for the whole text, half of
    the files JPEG."""

    family: str
    transcription: bool
    jpeg: bool

    @classmethod
    def of(cls, number: int) -> "Mix":
        families = tuple(FAMILIES)
        turn = number // len(families)
        return cls(families[number % len(families)], turn % 2 == 1, turn // 2 % 2 == 1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about the picture in ``file``, and its one right answer."""

    file: str
    text: str
    expected: str
    kind: str


def most_answers(clients: int, seconds: float) -> int:
    """More questions than a service can answer meanwhile; one that can ends its measurement early."""
    per_s = 20 if clients < 4 else 40
    return math.ceil(per_s * seconds) + clients


def plan(clients: Sequence[int], seconds: float, rounds: int) -> list[dict[int, range]]:
    """The numbers of the questions of each round and count of clients; no number comes twice."""
    start, planned = 0, []
    for _ in range(rounds):
        numbers = {}
        for count in clients:
            numbers[count] = range(start, start := start + most_answers(count, seconds))
        planned.append(numbers)
    return planned


def drawn_by() -> str:
    """A digest of the code that draws."""
    sources = sorted((ROOT / "demo").rglob("*.py"))
    code = b"".join(source.read_bytes() for source in (*sources, Path(__file__)))
    return sha256(code).hexdigest()[:12]


def folder() -> Path:
    return ROOT / "build" / "peers" / f"pictures-{drawn_by()}"


def draw(number: int, into: Path) -> Asked:
    """The question of that number, its picture's file written; from ``into`` if it was drawn before."""
    record = into / f"{number}.json"
    if record.exists():
        kept = json.loads(record.read_text(encoding="utf-8"))
        return Asked(**kept | {"file": str(into / kept["file"])})
    mix = Mix.of(number)
    seed = next(seeds(mix.family, number * SEEDS_APART, held_out=True))
    picture, questions = Case(MAIN, mix.family, seed).lesson()
    question = questions[-1] if mix.transcription else questions[0]
    file = into / f"{number}.{'jpg' if mix.jpeg else 'png'}"
    Image.fromarray(picture.pixels).save(file, quality=JPEG_QUALITY)  # which PNG does not look at
    asked = Asked(str(file), question.text, question.answer, question.kind)
    record.write_text(json.dumps(asdict(asked) | {"file": file.name}, ensure_ascii=False), encoding="utf-8")
    return asked


def draw_all(numbers: Sequence[int], workers: int) -> dict[int, Asked]:
    """All questions by their numbers."""
    into = folder()
    into.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, get_context("spawn")) as executor:
        drawn = executor.map(partial(draw, into=into), numbers, chunksize=32)
        return dict(zip(numbers, drawn, strict=True))
