"""How often the demo model is exactly right, on pictures it has never seen: ``python -m demo.evaluate``.

Pictures come from held-out seeds. Each is asked about ``FIELDS_EACH`` single things, some of them absent, and for its
whole text. Beside the main figures stand, on fewer pictures: a font that training never used, large pictures with and
without their tiles, and a control that asks the right question about the wrong picture.

Without ``--url`` the checkpoint answers in this process's workers; with it, a running service does, over HTTP.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import requests
import torch
from PIL import Image
from torch.nn import functional

from demo import fonts, scene
from demo.checkpoint import FOLDER
from demo.families import FAMILIES, SIZES
from demo.lessons import Lesson
from demo.pictures import Picture, Question, rng_of, seeds
from demo.scores import MAIN, SHUFFLED, Outcome, Report, edits, markdown
from deployments.preprocess.tiling import TileBudget

FIELDS_EACH = 3
ABSENT_SHARE = 0.1
MAGNIFIED = 4

UNSEEN, TILES, OVERVIEW = "unseen font", "large, with tiles", "large, overview alone"


Ask = Callable[[Picture, Sequence[str], TileBudget], list[str]]
"""Answers to questions about one picture, shown within a budget."""


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out picture, by its seed, and the condition under which it is asked about."""

    condition: str
    family: str
    seed: int

    def lesson(self) -> tuple[Picture, list[Question]]:
        """The picture as drawn under its condition, and its questions."""
        family, rng = FAMILIES[self.family], rng_of(self.family, self.seed)
        faces = (fonts.UNSEEN,) if self.condition == UNSEEN else fonts.TRAINED
        if self.condition in (TILES, OVERVIEW):
            picture = scene.draw(rng, family, rng.choice(scene.DESKS), faces, MAGNIFIED)
        else:
            picture = family.draw(rng, rng.choice(SIZES), faces)
        # "Not in the picture" is often right about the wrong picture too: the control does not ask for it.
        absent = 0.0 if self.condition == SHUFFLED else ABSENT_SHARE
        return picture, family.questions(picture, rng, FIELDS_EACH, absent)

    def budget(self) -> TileBudget:
        return replace(scene.BUDGET, max_tiles=0) if self.condition == OVERVIEW else scene.BUDGET


def cases(families: Sequence[str], pictures: int, beside: int, seed: int, conditions: Sequence[str]) -> list[Case]:
    """``pictures`` a family for the main figures, ``beside`` for each other condition; the same seeds for all."""
    counts = {condition: pictures if condition == MAIN else beside for condition in conditions}
    return [
        Case(condition, family, number)
        for condition, count in counts.items()
        for family in families
        for number in islice(seeds(family, seed, held_out=True), count)
    ]


def outcomes(case: Case, ask: Ask) -> list[Outcome]:
    """What came of asking about one picture; of a shuffled one, its questions about the next picture of its family."""
    picture, questions = case.lesson()
    shown = picture
    if case.condition == SHUFFLED:
        other = next(seeds(case.family, case.seed + 1, held_out=True))
        shown, _ = replace(case, seed=other).lesson()
    answers = ask(shown, [question.text for question in questions], case.budget())
    return [
        Outcome(
            condition=case.condition,
            family=case.family,
            kind=question.kind,
            difficulty=picture.difficulty,
            damage=picture.damage,
            question=question.text,
            expected=question.answer,
            answer=answer,
            error_rate=edits(answer, question.answer) / len(question.answer),
        )
        for question, answer in zip(questions, answers, strict=True)
    ]


_ask: Ask


def _start_worker(checkpoint: Path, beams: int, quantization: str, dtype: str) -> None:
    """Load the checkpoint once in a worker, with one thread: there is a worker for each core.

    The row engine gives what ``generate`` gives, and reads a picture once for all its questions.
    """
    from deployments.model.settings import RowSettings
    from deployments.model.vision_model import VisionModel

    global _ask
    if dtype == "bfloat16" and quantization == "none":
        quick_bfloat16()
    rows = RowSettings(rows=(FIELDS_EACH + 1) * beams, collapse=False)
    model = VisionModel.from_pretrained(
        checkpoint, quantization=quantization, dtype=dtype, threads=1, engine="rows", rows=rows
    )

    def ask(picture: Picture, questions: Sequence[str], budget: TileBudget) -> list[str]:
        lesson = Lesson.about(picture, (), budget)
        places = tuple(part.place for part in lesson.parts)
        futures = [model.submit(lesson.pixels, text, beam_width=beams, places=places) for text in questions]
        return [future.result().text for future in futures]

    _ask = ask


def quick_bfloat16() -> None:
    """On a core without bfloat16 units, multiply matrices as those do: exact products, float32 sums, one rounding.

    PyTorch's own way on such a core is a hundred times slower than float32. Both differ only in the order of the sums.
    """
    if torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    plain, widened = functional.linear, dict[int, torch.Tensor]()

    def linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if input.dtype is not torch.bfloat16:
            return plain(input, weight, bias)
        if weight.data_ptr() not in widened:
            widened[weight.data_ptr()] = weight.float()
        return plain(input.float(), widened[weight.data_ptr()], None if bias is None else bias.float()).bfloat16()

    functional.linear = linear


def _in_worker(case: Case) -> list[Outcome]:
    return outcomes(case, _ask)


def over_http(url: str, picture: Picture, questions: Sequence[str], _budget: TileBudget) -> list[str]:
    """Answers of a running service, which decides itself how it shows the picture and decodes."""
    file = BytesIO()
    Image.fromarray(picture.pixels).save(file, "PNG", compress_level=1)
    answers = []
    for question in questions:
        files = {"image": ("picture.png", file.getvalue())}
        response = requests.post(f"{url.rstrip('/')}/v1/ask", files=files, data={"question": question}, timeout=120)
        response.raise_for_status()
        answers.append(str(response.json()["answer"]))
    return answers


def run(options: argparse.Namespace) -> Iterator[Outcome]:
    """Every outcome, as it comes, in the order of the cases."""
    conditions = [MAIN, UNSEEN, TILES, OVERVIEW, SHUFFLED]
    executor: Executor
    if options.url:
        conditions.remove(OVERVIEW)  # the service alone decides about tiles
        executor = ThreadPoolExecutor(options.workers)
        work: Callable[[Case], list[Outcome]] = partial(outcomes, ask=partial(over_http, options.url))
    else:
        setup = (options.checkpoint, options.beams, options.quantization, options.dtype)
        executor = ProcessPoolExecutor(options.workers, get_context("spawn"), _start_worker, setup)
        work = _in_worker
    todo = cases(options.family or list(FAMILIES), options.pictures, options.beside, options.seed, conditions)
    with executor:
        for done, result in enumerate(executor.map(work, todo), start=1):
            if done % 100 == 0:
                print(f"{done} of {len(todo)} pictures", file=sys.stderr)
            yield from result


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m demo.evaluate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--pictures", type=int, default=100, metavar="N", help="held-out pictures a family (default %(default)s)"
    )
    parser.add_argument(
        "--beside", type=int, metavar="M", help="pictures a family for each other condition (default N / 5)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="where in the held-out seeds to start")
    parser.add_argument("--family", action="append", choices=tuple(FAMILIES), help="only this one; may be repeated")
    parser.add_argument("--url", help="ask this running service instead of the checkpoint")
    parser.add_argument("--checkpoint", type=Path, default=FOLDER)
    parser.add_argument("--beams", type=int, default=1, help="beam width in process; a service decides itself")
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="in process")
    parser.add_argument("--workers", type=int, default=2, help="processes, or with --url requests at a time")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result there too")
    parser.add_argument("--show-wrong", type=int, default=0, metavar="N", help="print the first N wrong answers")
    options = parser.parse_args()
    if options.pictures < 1:
        parser.error("--pictures must be at least 1")
    if options.beside is None:
        options.beside = options.pictures // 5
    began = time.perf_counter()
    answered = list(run(options))
    wrong = (outcome for outcome in answered if not outcome.exact and outcome.condition == MAIN)
    for outcome in islice(wrong, options.show_wrong):
        said = f"{outcome.question!r} {outcome.answer!r}, not {outcome.expected!r}"
        print(f"wrong ({outcome.family}, {outcome.damage}): {said}", file=sys.stderr)
    report = Report.of(
        answered,
        pictures=options.pictures,
        beside=options.beside,
        seed=options.seed,
        decoding="the service's own" if options.url else f"beam {options.beams}" if options.beams > 1 else "greedy",
        precision="the service's own" if options.url else "NF4" if options.quantization == "nf4" else options.dtype,
        ms_per_question=round((time.perf_counter() - began) / len(answered) * 1e3, 1),
    )
    print(markdown(report))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
