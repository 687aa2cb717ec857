"""Draw the sample pictures: ``python -m demo.samples``. They come from held-out seeds: the model has not seen them."""

import argparse
import json
from itertools import islice
from pathlib import Path

from PIL import Image

from demo import orders
from demo.pictures import rng_of, seeds
from demo.train import TRAINED_FACES

FOLDER = Path(__file__).parent / "samples"
FIRST_SEED = 20_260_000
COUNT = 6
QUESTIONS_EACH = 4


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.samples", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    index = []
    for number, seed in enumerate(islice(seeds(orders.FAMILY, FIRST_SEED, held_out=True), COUNT), start=1):
        rng = rng_of(orders.FAMILY, seed)
        picture = orders.draw(rng, (3, 6), TRAINED_FACES)
        file = f"order-{number}.png"
        Image.fromarray(picture.pixels).save(options.out / file, optimize=True)
        shown = [item for item in orders.FIELDS if item.key in picture.values][:QUESTIONS_EACH]
        asked = [(f"{item.labels[0]}是多少？", picture.values[item.key]) for item in shown]
        asked.append((orders.TRANSCRIBE[0], "\n".join(picture.lines)))
        questions, answers = zip(*asked, strict=True)
        index.append({"file": file, "title": f"订单截图 {number}", "questions": questions, "answers": answers})
    (options.out / "samples.json").write_text(json.dumps(index, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"{len(index)} pictures in {options.out}")


if __name__ == "__main__":
    main()
