"""Train the card classifier on one core: ``python -m demo.cards.train``.

Pictures are drawn once and kept (``demo/cards/cache.py``); what training varies is their cut, turn, light and colour.
The threshold is chosen on pictures of the training half that training has not seen.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from demo.cards.batches import BATCH, batches
from demo.cards.cache import Sample, sample
from demo.cards.network import FOLDER, Network, architecture, load, save
from demo.muon import Muon
from deployments.preprocess.safety.cards import squared

KEPT = 1.1
"""Side of the squares that are kept, of the input's: so that a cut of them is not blurred."""
PLACES_WEIGHT = 4.0
"""Of the loss that says where the cards are: with it, small ones are learnt from fewer pictures."""
RATE, MUON_RATE, WARM_UP, LOG_EVERY = 3e-3, 1e-2, 50, 25
VALIDATION, VALIDATION_START = 1500, 10_000_000
THRESHOLD, PRECISION = 0.5, 0.99
"""Where the stored scores are believed, and the precision on validation pictures that their level is chosen for."""


def pace(step: int, steps: int) -> float:
    """Share of the learning rate: up over ``WARM_UP`` steps, then down to nothing along a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def scored(network: Network, pictures: Sample, side: int) -> NDArray[np.float32]:
    """Scores (pictures, labels) of the whole pictures, as serving sees them."""
    network.eval()
    parts = [torch.sigmoid(network(part)[0]) for part in wholes(pictures, side)]
    network.train()
    scores: NDArray[np.float32] = torch.cat(parts).numpy()
    return scores


def wholes(pictures: Sample, side: int) -> Iterator[Tensor]:
    """The pictures as they are, in batches."""
    for start in range(0, len(pictures), BATCH):
        part = pictures.pixels[start : start + BATCH]
        yield torch.from_numpy(np.stack([squared(picture, side) for picture in part]))


def threshold_for(scores: NDArray[np.float32], labels: NDArray[np.float32], precision: float) -> float:
    """The lowest of 0.5, 0.51, … 0.99 at which every label is precise; 0.99 if none is."""
    for percent in range(50, 100):
        called = scores >= percent / 100
        right = (called & (labels > 0)).sum(axis=0) / np.maximum(1, called.sum(axis=0))
        if (right >= precision).all():
            return percent / 100
    return 0.99


def train(
    network: Network, pictures: Sample, validation: Sample, side: int, steps: int, rate: float, seed: int
) -> list[dict[str, Any]]:
    """Train for ``steps`` at ``side`` pixels and a share of the learning rates; the log is printed as it grows."""
    network.train()
    matrices = [layer.weight for layer in network.layers]
    others = [parameter for parameter in network.parameters() if all(parameter is not matrix for matrix in matrices)]
    # Three times fewer pictures than with AdamW alone to the same loss.
    optimizers = (Muon(matrices, rate * MUON_RATE), torch.optim.AdamW(others, rate * RATE))
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: pace(step, steps)) for one in optimizers]
    log: list[dict[str, Any]] = []
    losses: list[tuple[float, float]] = []
    for step, batch in enumerate(batches(pictures, side, steps, seed)):
        logits, places = network(batch.pixels)
        seen = binary_cross_entropy_with_logits(logits, batch.labels)
        found = binary_cross_entropy_with_logits(places, batch.places)
        loss = seen + PLACES_WEIGHT * found
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        losses.append((seen.item(), found.item()))
        if (step + 1) % LOG_EVERY == 0:
            means = dict(zip(("loss", "places"), np.mean(losses, axis=0).round(4).tolist(), strict=True))
            entry = {"step": step + 1, "pictures": (step + 1) * BATCH, **means}
            if (step + 1) % (8 * LOG_EVERY) == 0:
                right = ((scored(network, validation, side) >= 0.5) == (validation.labels > 0)).mean()
                entry["validation_accuracy"] = round(float(right), 4)
            log.append(entry)
            losses.clear()
            print(json.dumps(entry), flush=True)
    return log


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.cards.train", description=__doc__)
    parser.add_argument("--pictures", type=int, default=12_000, help="training pictures to draw (default %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="of these pictures (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="times that each is shown (default %(default)s)")
    parser.add_argument("--side", type=int, default=160, help="of the input in pixels (default %(default)s)")
    parser.add_argument("--rate", type=float, default=1.0, help="share of the learning rates (default %(default)s)")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="go on from this checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of all that is varied")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--cache", type=Path, default=Path("build/cards"), help="where drawn pictures are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    began, kept = time.perf_counter(), round(options.side * KEPT)
    validation = sample(VALIDATION, kept, VALIDATION_START, options.cache / f"validation-{kept}.npz")
    pictures = sample(options.pictures, kept, options.first_seed, options.cache / f"training-{kept}.npz")
    network = load(options.start) if options.start else Network(architecture(), normalised=True)
    if options.start:
        network.normalise(next(wholes(validation, options.side)))
    steps = len(pictures) * options.epochs // BATCH
    log = train(network, pictures, validation, options.side, steps, options.rate, options.seed)
    believed = threshold_for(scored(network, validation, options.side), validation.labels, PRECISION)
    with torch.no_grad():  # moved to a half, which is where a filter's threshold stands unless it says otherwise
        network.head.bias.sub_(math.log(believed / (1 - believed)))
    save(network, options.side, THRESHOLD, options.out)
    lines = [json.dumps(entry) for entry in log]
    (options.out / "training.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(
        f"{time.perf_counter() - began:.0f} s, written to {options.out}: believed from {believed}, moved to {THRESHOLD}"
    )


if __name__ == "__main__":
    main()
