"""Tables and plot for the model card from evaluations' JSON: ``python -m demo.report greedy.json beam4.json …``."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from demo.checkpoint import FOLDER
from demo.scores import Report, markdown

THRESHOLDS = {"order": 0.95, "waybill": 0.947, "board": 0.892, "document": 0.915}
"""What the main figures are held against; but for orders, what is reported for a 9B model on real pictures."""


def compared(reports: Sequence[Report]) -> str:
    """One row a way of decoding, one column a family."""
    families = list(reports[0].families)
    lines = ["| decoding | pictures a family | " + " | ".join(families) + " |", "|---" * (len(families) + 2) + "|"]
    for report in reports:
        cells = [f"{score.exact_match:.1%} ({score.low:.1%} to {score.high:.1%})" for score in report.families.values()]
        lines.append(f"| {_name(report)} | {report.run['pictures']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(reports: Sequence[Report], out: Path) -> None:
    """Exact match with 95 % intervals, a group of bars a family, the field's figures as dashes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(9, 4), layout="constrained")
    width = 0.8 / len(reports)
    families = list(reports[0].families)
    for number, report in enumerate(reports):
        places = [group + (number - (len(reports) - 1) / 2) * width for group in range(len(families))]
        scores = [report.families[family] for family in families]
        heights = [score.exact_match * 100 for score in scores]
        errors = [[(s.exact_match - s.low) * 100 for s in scores], [(s.high - s.exact_match) * 100 for s in scores]]
        axis.bar(places, heights, width * 0.9, yerr=errors, capsize=3, label=_name(report))
    for group, family in enumerate(families):
        axis.hlines(THRESHOLDS[family] * 100, group - 0.45, group + 0.45, colors="black", linestyles="dashed")
    axis.set(ylabel="exactly right, %", ylim=(70, 100.5))
    axis.set_xticks(range(len(families)), families)
    axis.legend(loc="lower right")
    axis.grid(axis="y", alpha=0.3)
    figure.savefig(out, dpi=110)


def _name(report: Report) -> str:
    return f"{report.run['decoding']}, {report.run['precision']}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.report", description=__doc__)
    parser.add_argument(
        "evaluations", type=Path, nargs="+", help="written by demo.evaluate --json; the first is told whole"
    )
    parser.add_argument("--plot", type=Path, default=FOLDER / "evaluation.png")
    options = parser.parse_args()
    reports = [Report.from_json(json.loads(path.read_text(encoding="utf-8"))) for path in options.evaluations]
    plot(reports, options.plot)
    print(compared(reports), markdown(reports[0]), sep="\n\n")


if __name__ == "__main__":
    main()
