"""Draw the training curve from its log: ``python -m demo.plot``."""

import argparse
import json
from pathlib import Path

from demo.checkpoint import FOLDER
from demo.families import FAMILIES

PANELS = (
    ("losses", ("text", "cells")),
    ("accuracies", ("text_accuracy", "cell_accuracy")),
    ("training answers exactly right", tuple(f"exact_{family}" for family in FAMILIES)),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.plot", description=__doc__)
    parser.add_argument("--log", type=Path, default=FOLDER / "training.jsonl")
    parser.add_argument("--out", type=Path, default=FOLDER / "training.png")
    options = parser.parse_args()

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    entries = [json.loads(line) for line in options.log.read_text().splitlines()]
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(15, 4), layout="constrained")
    for axis, (title, names) in zip(axes, PANELS, strict=True):
        for name in names:
            points = [(entry["pictures"] / 1000, entry[name]) for entry in entries if name in entry]
            axis.plot(*zip(*points, strict=True), label=name.removeprefix("exact_").replace("_", " "))
        axis.set(title=title, xlabel="thousand pictures")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_yscale("log")
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
