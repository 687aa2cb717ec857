"""How well cards are recognised in pictures never trained on: ``python -m demo.cards.evaluate``.

It asks the classifier that serves, with its own threshold. As many pictures of every kind: two in fourteen show each
label, so a share of false alarms weighs six times in the precision.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from demo.cards.network import FOLDER
from demo.cards.pictures import KINDS, LABELS, draw, seeds_of
from demo.scores import interval
from deployments.preprocess.safety.cards import CardClassifier


@dataclass(frozen=True, slots=True)
class Outcome:
    """The scores of one held-out picture; ``unseen`` says that its layout was never trained on."""

    kind: str
    seed: int
    labels: tuple[str, ...]
    unseen: bool
    scores: dict[str, float]

    def called(self, label: str, threshold: float) -> bool:
        return self.scores[label] >= threshold


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``of``, with Wilson's 95 % interval; the whole interval where there are none."""

    count: int
    of: int

    def __str__(self) -> str:
        if not self.of:
            return "none asked"
        low, high = interval(self.count, self.of)
        return f"{self.count / self.of:.1%} ({low:.1%} to {high:.1%})"

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else 1.0


def outcomes(
    classifier: CardClassifier, pictures: int, seed: int, kinds: Sequence[str] = tuple(KINDS)
) -> list[Outcome]:
    """What the classifier says of ``pictures`` held-out pictures of each kind."""
    found = []
    for kind in kinds:
        for number in islice(seeds_of(kind, seed, held_out=True), pictures):
            picture = draw(kind, number)
            scores = classifier.scores_of(picture.pixels)
            found.append(Outcome(kind, number, picture.labels, picture.unseen, scores))
        print(f"{pictures} of {kind}", file=sys.stderr)
    return found


def precision(found: Sequence[Outcome], label: str, threshold: float) -> Share:
    called = [outcome for outcome in found if outcome.called(label, threshold)]
    return Share(sum(label in outcome.labels for outcome in called), len(called))


def recall(found: Sequence[Outcome], label: str, threshold: float, unseen: bool | None = None) -> Share:
    """Of the pictures that show the label; ``unseen`` limits them to layouts that training had or had not."""
    shown = [o for o in found if label in o.labels and (unseen is None or o.unseen == unseen)]
    return Share(sum(outcome.called(label, threshold) for outcome in shown), len(shown))


def wrongly_called(found: Sequence[Outcome], threshold: float) -> dict[str, Share]:
    """By kind, the pictures called a card that they do not show."""
    shares = {}
    for kind in dict.fromkeys(outcome.kind for outcome in found):
        of = [outcome for outcome in found if outcome.kind == kind]
        wrong = sum(any(o.called(label, threshold) for label in LABELS if label not in o.labels) for o in of)
        shares[kind] = Share(wrong, len(of))
    return shares


def markdown(found: Sequence[Outcome], threshold: float) -> str:
    lines = ["| label | precision | recall | recall, layouts never trained on |", "|---|---|---|---|"]
    lines += [
        f"| {label} | {precision(found, label, threshold)} | {recall(found, label, threshold)} "
        f"| {recall(found, label, threshold, unseen=True)} |"
        for label in LABELS
    ]
    lines += ["", "| kind | pictures | wrongly called a card |", "|---|---|---|"]
    lines += [f"| {kind} | {share.of} | {share} |" for kind, share in wrongly_called(found, threshold).items()]
    return "\n".join(lines)


def as_json(found: Sequence[Outcome], threshold: float, **run: Any) -> dict[str, Any]:
    return {
        "run": {"threshold": threshold, **run},
        "precision": {label: asdict(precision(found, label, threshold)) for label in LABELS},
        "recall": {label: asdict(recall(found, label, threshold)) for label in LABELS},
        "wrongly_called": {kind: asdict(share) for kind, share in wrongly_called(found, threshold).items()},
    }


def plot(found: Sequence[Outcome], threshold: float, file: Path) -> None:
    """Precision and recall over the threshold, one panel a label."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(LABELS), figsize=(10, 4), layout="constrained", sharey=True)
    steps = np.linspace(0.02, 0.995, 196)
    for axis, label in zip(axes, LABELS, strict=True):
        for name, share in (("precision", precision), ("recall", recall)):
            axis.plot(steps, [share(found, label, float(step)).value for step in steps], label=name)
        axis.axvline(threshold, color="grey", linestyle="--", label="threshold")
        axis.set(title=label.replace("_", " "), xlabel="threshold", ylim=(0.8, 1.005))
        axis.grid(alpha=0.3)
        axis.legend(loc="lower center")
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.cards.evaluate", description=__doc__)
    parser.add_argument("--pictures", type=int, default=500, metavar="N", help="held-out pictures of each kind")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="where in the held-out seeds to start")
    parser.add_argument("--checkpoint", type=Path, default=FOLDER)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result there too")
    parser.add_argument("--curve", type=Path, metavar="OUT", help="the plot (default: curve.png beside the weights)")
    options = parser.parse_args()
    if options.pictures < 1:
        parser.error("--pictures must be at least 1")
    classifier = CardClassifier.load(options.checkpoint)
    began = time.perf_counter()
    found = outcomes(classifier, options.pictures, options.seed)
    took = round((time.perf_counter() - began) / len(found) * 1e3, 1)
    print(markdown(found, classifier.threshold))
    print(f"\nThreshold {classifier.threshold}, seed {options.seed}, {took} ms a picture, most of it for drawing.")
    plot(found, classifier.threshold, options.curve or options.checkpoint / "curve.png")
    if options.json:
        result = as_json(found, classifier.threshold, pictures=options.pictures, seed=options.seed)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
