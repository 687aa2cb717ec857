"""How often the demo model is right about the samples when they are enlarged: with the size of the detail, and without.

python -m benchmarks.large_type
"""

import argparse
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

from PIL import Image

from demo import scene
from deployments.model.vision_model import VisionModel

ROOT = Path(__file__).resolve().parents[1]
SAMPLES, CHECKPOINT = ROOT / "demo" / "samples", ROOT / "demo" / "checkpoint"
QUESTIONS_EACH = 2
FACTORS = (1, 2, 3, 4, 6, 8)
WAYS = {
    "Lanczos": (Image.Resampling.LANCZOS, "PNG"),
    "nearest": (Image.Resampling.NEAREST, "PNG"),
    "bicubic, JPEG": (Image.Resampling.BICUBIC, "JPEG"),
}


def enlarged(file: str, factor: int, method: Image.Resampling, kind: str) -> bytes:
    image = Image.open(SAMPLES / file).convert("RGB")
    buffer = BytesIO()
    image.resize((image.width * factor, image.height * factor), method).save(buffer, kind)
    return buffer.getvalue()


def right(model: VisionModel, factor: int, way: str) -> Iterator[bool]:
    """For each sample and question, whether the answer is the one that the sample itself gets."""
    for entry in json.loads((SAMPLES / "samples.json").read_text()):
        data = enlarged(entry["file"], factor, *WAYS[way])
        for question, answer in list(zip(entry["questions"], entry["answers"], strict=True))[:QUESTIONS_EACH]:
            yield model.generate(data, question, preprocess=scene.KNOBS).text.strip() == answer.strip()


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.large_type", description=__doc__).parse_args()
    model = VisionModel.from_pretrained(CHECKPOINT)
    print(f"| times | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for factor in FACTORS:
        cells = []
        for way in WAYS:
            with patch("deployments.preprocess.picture.spare_factor", lambda image, shortest: 1):
                before = sum(right(model, factor, way))
            cells.append(f"{before} → {sum(right(model, factor, way))}")
        print(f"| {factor} | {' | '.join(cells)} |", flush=True)
    model.close()


if __name__ == "__main__":
    main()
