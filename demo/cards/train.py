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
from torch.nn.functional import binary_cross_entropy_with_logits

from demo.cards.batches import BATCH, batches
from demo.cards.cache import Sample, sample
from demo.cards.network import FOLDER, INPUT_SIZE, Network, architecture, save
from demo.muon import Muon
from deployments.contract import Pixels
from deployments.preprocess.safety.cards import squared

KEPT_SIDE = 176
"""Of the squares that are kept: a little more than the input, so that a cut of them is not blurred."""
PLACES_WEIGHT = 4.0
"""Without the loss that says where the cards are, small ones are not learnt in an hour."""
RATE, MUON_RATE, WARM_UP, LOG_EVERY = 3e-3, 1e-2, 50, 25
VALIDATION, VALIDATION_START = 1500, 10_000_000
THRESHOLD, PRECISION = 0.5, 0.99
"""Where the stored scores are believed, and the precision on validation pictures that their level is chosen for."""


def pace(step: int, steps: int) -> float:
    """Share of the learning rate: up over ``WARM_UP`` steps, then down to nothing along a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def scored(network: Network, pictures: Sample) -> NDArray[np.float32]:
    """Scores (pictures, labels) of the whole pictures, as serving sees them."""
    network.eval()
    parts = [
        torch.sigmoid(network(torch.from_numpy(np.stack([squared(picture, INPUT_SIZE) for picture in part])))[0])
        for part in batched(pictures.pixels)
    ]
    network.train()
    scores: NDArray[np.float32] = torch.cat(parts).numpy()
    return scores


def batched(pixels: Pixels) -> Iterator[Pixels]:
    for start in range(0, len(pixels), BATCH):
        yield pixels[start : start + BATCH]


def threshold_for(scores: NDArray[np.float32], labels: NDArray[np.float32], precision: float) -> float:
    """The lowest of 0.5, 0.51, … 0.99 at which every label is precise; 0.99 if none is."""
    for percent in range(50, 100):
        called = scores >= percent / 100
        right = (called & (labels > 0)).sum(axis=0) / np.maximum(1, called.sum(axis=0))
        if (right >= precision).all():
            return percent / 100
    return 0.99


def train(pictures: Sample, validation: Sample, steps: int, seed: int) -> tuple[Network, list[dict[str, Any]]]:
    """The trained network and its log, which is printed as it grows."""
    torch.manual_seed(seed)
    network = Network(architecture(), normalised=True)
    matrices = [layer.weight for layer in network.layers]
    others = [parameter for parameter in network.parameters() if all(parameter is not matrix for matrix in matrices)]
    # Three times fewer pictures than with AdamW alone to the same loss.
    optimizers = (Muon(matrices, MUON_RATE), torch.optim.AdamW(others, RATE))
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: pace(step, steps)) for one in optimizers]
    log: list[dict[str, Any]] = []
    losses: list[tuple[float, float]] = []
    for step, batch in enumerate(batches(pictures, steps, seed)):
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
                right = ((scored(network, validation) >= 0.5) == (validation.labels > 0)).mean()
                entry["validation_accuracy"] = round(float(right), 4)
            log.append(entry)
            losses.clear()
            print(json.dumps(entry), flush=True)
    return network, log


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.cards.train", description=__doc__)
    parser.add_argument("--pictures", type=int, default=12_000, help="training pictures to draw (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="times that each is shown (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--cache", type=Path, default=Path("build/cards"), help="where drawn pictures are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    validation = sample(VALIDATION, KEPT_SIDE, VALIDATION_START, options.cache / "validation.npz")
    pictures = sample(options.pictures, KEPT_SIDE, 0, options.cache / "training.npz")
    network, log = train(pictures, validation, len(pictures) * options.epochs // BATCH, options.seed)
    believed = threshold_for(scored(network, validation), validation.labels, PRECISION)
    with torch.no_grad():  # moved to a half, which is where a filter's threshold stands unless it says otherwise
        network.head.bias.sub_(math.log(believed / (1 - believed)))
    save(network, THRESHOLD, options.out)
    lines = [json.dumps(entry) for entry in log]
    (options.out / "training.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(
        f"{time.perf_counter() - began:.0f} s, written to {options.out}: believed from {believed}, moved to {THRESHOLD}"
    )


if __name__ == "__main__":
    main()
