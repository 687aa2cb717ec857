"""Draw the sample pictures: ``python -m demo.samples``.

The first held-out pictures of each family that the checkpoint answers entirely right: a newcomer's first look is not a
lottery. How often it is right on pictures nobody chose is what ``demo.evaluate`` tells.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image

from demo import fonts, scene
from demo.checkpoint import FOLDER as CHECKPOINT
from demo.families import FAMILIES, SIZES
from demo.families.family import Family
from demo.fields import TRANSCRIBE
from demo.pictures import Picture, Question, rng_of, seeds
from deployments.model.vision_model import VisionModel

FOLDER = Path(__file__).parent / "samples"
FIRST_SEED = 20_260_000
EACH = 2


def candidates(family: Family) -> Iterator[tuple[Picture, list[Question]]]:
    """Held-out pictures with the questions a sample offers."""
    for seed in seeds(family.name, FIRST_SEED, held_out=True):
        rng = rng_of(family.name, seed)
        picture = family.draw(rng, rng.choice(SIZES), fonts.TRAINED)
        yield picture, [*family.showcase(picture), Question(TRANSCRIBE[0], "\n".join(picture.lines), "transcription")]


def entry(family: Family, number: int, questions: list[Question]) -> dict[str, Any]:
    return {
        "file": f"{family.name}-{number}.png",
        "family": family.name,
        "title": f"{family.title} {number}",
        "questions": [question.text for question in questions],
        "answers": [question.answer for question in questions],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.samples", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    for old in options.out.glob("*.png"):
        old.unlink()
    model = VisionModel.from_pretrained(options.checkpoint)
    index: list[dict[str, Any]] = []
    for family in FAMILIES.values():
        found = 0
        for looked_at, (picture, questions) in zip(count(1), candidates(family), strict=False):
            answers = (
                model.generate(picture.pixels, question.text, preprocess=scene.KNOBS).text for question in questions
            )
            if all(answer == question.answer for answer, question in zip(answers, questions, strict=True)):
                found += 1
                index.append(entry(family, found, questions))
                Image.fromarray(picture.pixels).save(options.out / index[-1]["file"], optimize=True)
            if found == EACH:
                print(f"{EACH} of the first {looked_at} held-out {family.name} pictures into {options.out}")
                break
    (options.out / "samples.json").write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
