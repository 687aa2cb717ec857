"""How often the demo model is exactly right, on pictures it has never seen: ``python -m demo.evaluate``.

Pictures come from held-out seeds. Each is asked about ``FIELDS_EACH`` fields, some of them absent, and for its whole
text. Without ``--url`` the checkpoint answers in this process; with it, a running service does, over HTTP.
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image

from demo import orders
from demo.checkpoint import FOLDER
from demo.pictures import Picture, Question, rng_of, seeds
from demo.train import TRAINED_FACES

FIELDS_EACH = 3
ABSENT_SHARE = 0.1

Ask = Callable[[NDArray[np.uint8], str], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answered question. ``error_rate`` is edits per expected character."""

    family: str
    kind: str
    exact: bool
    error_rate: float


def held_out(pictures: int, seed: int) -> Iterator[tuple[Picture, list[Question]]]:
    """The first ``pictures`` held-out order screenshots from ``seed`` on, with their questions."""
    for number in islice(seeds(orders.FAMILY, seed, held_out=True), pictures):
        rng = rng_of(orders.FAMILY, number)
        picture = orders.draw(rng, (3, 6), TRAINED_FACES)
        fields = [orders.field_question(picture, rng, ABSENT_SHARE) for _ in range(FIELDS_EACH)]
        yield picture, [*fields, orders.transcription(picture, rng)]


def edits(one: str, other: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def interval(right: int, asked: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.96
    share, spread = right / asked, z * z / asked
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / asked + spread / (4 * asked)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def in_process(checkpoint: Path, beams: int, quantization: str) -> Ask:
    from deployments.model.vision_model import VisionModel

    model = VisionModel.from_pretrained(checkpoint, quantization=quantization)
    return lambda pixels, question: model.generate(pixels, question, beam_width=beams).text


def over_http(url: str) -> Ask:
    def ask(pixels: NDArray[np.uint8], question: str) -> str:
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files = {"image": ("picture.png", file.getvalue())}
        response = requests.post(f"{url.rstrip('/')}/v1/ask", files=files, data={"question": question}, timeout=120)
        response.raise_for_status()
        answer: str = response.json()["answer"]
        return answer

    return ask


def evaluate(ask: Ask, pictures: int, seed: int, show_wrong: int) -> list[Outcome]:
    outcomes = []
    for picture, questions in held_out(pictures, seed):
        for question in questions:
            answer = ask(picture.pixels, question.text)
            exact = answer == question.answer
            rate = edits(answer, question.answer) / len(question.answer)
            outcomes.append(Outcome(picture.family, question.kind, exact, rate))
            if not exact and show_wrong > 0:
                show_wrong -= 1
                print(f"wrong: {question.text!r} {answer!r}, not {question.answer!r}", file=sys.stderr)
    return outcomes


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Counts, shares and intervals by family, and by kind of question within it."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.family, outcome.kind].append(outcome)
        groups[outcome.family, "all"].append(outcome)
    rows = {}
    for (family, kind), members in groups.items():
        right = sum(member.exact for member in members)
        low, high = interval(right, len(members))
        rows[f"{family}/{kind}"] = {
            "asked": len(members),
            "right": right,
            "exact_match": round(right / len(members), 4),
            "interval_95": [round(low, 4), round(high, 4)],
            "character_error_rate": round(sum(member.error_rate for member in members) / len(members), 4),
        }
    families = sorted({outcome.family for outcome in outcomes})
    return {"exact_match": {family: rows[f"{family}/all"]["exact_match"] for family in families}, "rows": rows}


def table(result: dict[str, Any]) -> str:
    lines = [
        "| family / question | asked | exactly right | 95 % interval | character error rate |",
        "|---|---|---|---|---|",
    ]
    for name, row in sorted(result["rows"].items(), key=lambda item: (not item[0].endswith("/all"), item[0])):
        low, high = row["interval_95"]
        lines.append(
            f"| {name} | {row['asked']} | {row['exact_match']:.1%} | {low:.1%} to {high:.1%} "
            f"| {row['character_error_rate']:.2%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.evaluate", description=__doc__)
    parser.add_argument(
        "--pictures", type=int, default=100, metavar="N", help="held-out pictures (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="where in the held-out seeds to start")
    parser.add_argument("--url", help="ask this running service instead of the checkpoint")
    parser.add_argument("--checkpoint", type=Path, default=FOLDER)
    parser.add_argument("--beams", type=int, default=1, help="beam width in process; a service decides itself")
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result there too")
    parser.add_argument("--show-wrong", type=int, default=0, metavar="N", help="print the first N wrong answers")
    options = parser.parse_args()
    if options.pictures < 1:
        parser.error("--pictures must be at least 1")
    ask = over_http(options.url) if options.url else in_process(options.checkpoint, options.beams, options.quantization)
    began = time.perf_counter()
    result = summary(evaluate(ask, options.pictures, options.seed, options.show_wrong))
    asked = sum(row["asked"] for name, row in result["rows"].items() if name.endswith("/all"))
    result |= {
        "pictures": options.pictures,
        "seed": options.seed,
        "decoding": "the service's own" if options.url else f"beam {options.beams}" if options.beams > 1 else "greedy",
        "quantization": "the service's own" if options.url else options.quantization,
        "ms_per_question": round((time.perf_counter() - began) / asked * 1e3, 1),
    }
    print(table(result))
    print(f"\n{result['decoding']}, quantization {result['quantization']}, {result['ms_per_question']} ms a question")
    if options.json:
        options.json.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
