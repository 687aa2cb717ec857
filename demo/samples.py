"""Draw the sample pictures: ``python -m demo.samples``.

The first held-out pictures that the checkpoint answers entirely right: a newcomer's first look is not a lottery. How
often it is right on pictures nobody chose is what ``demo.evaluate`` tells.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from demo import orders
from demo.checkpoint import FOLDER as CHECKPOINT
from demo.pictures import Picture, rng_of, seeds
from demo.train import TRAINED_FACES
from deployments.model.vision_model import VisionModel

FOLDER = Path(__file__).parent / "samples"
FIRST_SEED = 20_260_000
COUNT = 6
FIELDS_EACH = 4


def candidates() -> Iterator[tuple[Picture, list[tuple[str, str]]]]:
    """Held-out pictures with the questions a sample offers and their answers."""
    for seed in seeds(orders.FAMILY, FIRST_SEED, held_out=True):
        picture = orders.draw(rng_of(orders.FAMILY, seed), (3, 6), TRAINED_FACES)
        shown = [item for item in orders.FIELDS if item.key in picture.values][:FIELDS_EACH]
        asked = [(f"{item.labels[0]}是多少？", picture.values[item.key]) for item in shown]
        yield picture, [*asked, (orders.TRANSCRIBE[0], "\n".join(picture.lines))]


def entry(number: int, asked: list[tuple[str, str]]) -> dict[str, Any]:
    questions, answers = zip(*asked, strict=True)
    return {"file": f"order-{number}.png", "title": f"订单截图 {number}", "questions": questions, "answers": answers}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.samples", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    model = VisionModel.from_pretrained(CHECKPOINT)
    looked_at, index = 0, []
    for picture, asked in candidates():
        looked_at += 1
        if all(model.generate(picture.pixels, question).text == answer for question, answer in asked):
            index.append(entry(len(index) + 1, asked))
            Image.fromarray(picture.pixels).save(options.out / index[-1]["file"], optimize=True)
        if len(index) == COUNT:
            break
    (options.out / "samples.json").write_text(json.dumps(index, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"{len(index)} pictures in {options.out}, the first entirely right ones of {looked_at}")


if __name__ == "__main__":
    main()
