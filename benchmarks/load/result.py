"""What a load test found, as JSON in the pinned form and as one HTML page with plots."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

from benchmarks.load.figures import NAMES, Figures, Second
from benchmarks.load.plots import lines, stacked
from benchmarks.quiet import QUIET_CORES

SHIPPED = "ladder"
"""The service as it is; the others are baselines."""

STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid #dde3e8; border-radius: 8px; padding: .75rem }
figcaption { font-weight: 600 }
.doubt { color: #a8261d }"""


@dataclass(frozen=True, slots=True)
class Run:
    """One rate, ``load`` times C, over all seeds."""

    load: float
    figures: Figures
    seeds: int

    def share_of(self, c1: float) -> float:
        """Goodput as a share of what could be answered: the load, or C1 where that is less."""
        most = min(self.figures.offered_per_s, c1)
        return self.figures.goodput_per_s / most if most else math.nan


@dataclass(frozen=True, slots=True)
class Found:
    """``runs`` by variant; ``burst`` is the timeline of one, ``seen`` what ``/v1/load`` said meanwhile."""

    c: float
    c1: float
    seconds: float
    deadline_s: float
    runs: Mapping[str, Sequence[Run]]
    closed_loop: Mapping[int, float]
    burst: Sequence[Second] = ()
    seen: Sequence[Mapping[str, Any]] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def doubts(self) -> list[str]:
        """Where the generator was itself the bottleneck, and where something else ran beside."""
        beside = [
            f"{variant} at {run.load:g} x C: something else took {run.figures.others_cores:.2f} cores meanwhile"
            for variant, runs in self.runs.items()
            for run in runs
            if run.figures.others_cores > QUIET_CORES
        ]
        return beside + [
            f"{variant} at {run.load:g} x C: the generator was itself the bottleneck (its slowest hundredth "
            f"was {run.figures.behind_ms:.0f} ms late, and it took {run.figures.cpu_share:.0%} of a core)"
            for variant, runs in self.runs.items()
            for run in runs
            if run.figures.is_generators_own
        ]


def as_json(found: Found) -> dict[str, Any]:
    by_variant = {variant: [_run(run, found.c1) for run in runs] for variant, runs in found.runs.items()}
    return {
        "C": _number(found.c),
        "C1": _number(found.c1),
        "C1/C": _number(found.c1 / found.c if found.c else math.nan),
        "runs": by_variant.pop(SHIPPED, []),
        "closed_loop": {str(clients): _number(rate) for clients, rate in found.closed_loop.items()},
        "baselines": by_variant,
        "burst": [asdict(one) | {"p99_ms": _number(one.p99_ms)} for one in found.burst],
        "seen": list(found.seen),
        "seconds": found.seconds,
        "deadline_s": found.deadline_s,
        "machine": dict(found.machine),
        "doubts": found.doubts,
    }


def _run(run: Run, c1: float) -> dict[str, Any]:
    figures = {name: getattr(run.figures, name) for name in NAMES}
    share = {"load": run.load, "seeds": run.seeds, "goodput_share": run.share_of(c1)}
    return {name: _number(value) for name, value in (share | figures).items()}


def _number(value: Any) -> Any:
    """JSON has no word for what is not a number: null."""
    if isinstance(value, Mapping):
        return {key: _number(one) for key, one in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def table(found: Found) -> str:
    """Lines of text: each variant at each load."""
    head = (
        f"{'variant':12} load  offered/s  goodput/s  share  useful   full   fast  holding  p50 ms  p99 ms  "
        "holding p99  err"
    )
    rows = [_row(variant, run, found.c1) for variant, runs in found.runs.items() for run in runs]
    closed = "  ".join(f"{clients}: {rate:.1f}/s" for clients, rate in found.closed_loop.items())
    ratio = found.c1 / found.c if found.c else math.nan
    first = f"C {found.c:.2f}/s, C1 {found.c1:.2f}/s, C1/C {ratio:.2f}"
    return "\n".join([first, head, *rows, f"closed loop  {closed}", *found.doubts])


def _row(variant: str, run: Run, c1: float) -> str:
    one = run.figures
    full, fast, holding = (one.levels.get(level, 0.0) for level in ("full", "fast", "holding"))
    return (
        f"{variant:12} {run.load:4g} {one.offered_per_s:10.1f} {one.goodput_per_s:10.2f} {run.share_of(c1):6.2f} "
        f"{one.useful_share:7.2%} {full:6.1%} {fast:6.1%} {holding:8.1%} {one.admitted_p50_ms:7.0f} "
        f"{one.admitted_p99_ms:7.0f} {one.holding_p99_ms:12.0f} {one.errors:4d}"
    )


def page(found: Found) -> str:
    """The report: one file that loads nothing."""
    shipped = found.runs.get(SHIPPED, [])
    plots = [
        _goodput(found),
        stacked("Levels by load (times C)", "load / C", {f"{run.load:g}": run.figures.levels for run in shipped}),
        _times(shipped),
        *_burst(found),
    ]
    doubts = "".join(f'<p class="doubt">{escape(line)}</p>' for line in found.doubts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Tuwen under load</title><style>{STYLE}</style>'
        f"<h1>Tuwen under load</h1>{doubts}<pre>{escape(table(found))}</pre><main>{''.join(plots)}</main></html>\n"
    )


def _goodput(found: Found) -> str:
    curves = {
        variant: [(run.figures.offered_per_s, run.figures.goodput_per_s) for run in runs]
        for variant, runs in found.runs.items()
    }
    most = max((x for points in curves.values() for x, _ in points), default=1.0)
    ideal = [(0.0, 0.0), (found.c1, found.c1), (most, found.c1)]
    return lines("Goodput against offered load", "requests/s", "answers in time/s", curves | {"ideal": ideal}, "ideal")


def _times(runs: Sequence[Run]) -> str:
    kinds = {"answer p50": "admitted_p50_ms", "answer p99": "admitted_p99_ms", "holding p99": "holding_p99_ms"}
    series = {
        name: [(run.figures.offered_per_s, getattr(run.figures, figure)) for run in runs]
        for name, figure in kinds.items()
    }
    return lines("Times of replies", "requests/s", "ms", series)


def _burst(found: Found) -> list[str]:
    if not found.burst:
        return []
    levels = ("full", "fast", "holding", "failed")
    load = {"offered": [(one.at, float(one.offered)) for one in found.burst]}
    load |= {level: [(one.at, float(one.levels.get(level, 0))) for one in found.burst] for level in levels}
    drawn = [
        lines("A burst: requests a second, by what became of them", "s", "1/s", load, "offered"),
        lines("A burst: p99 of answers", "s", "ms", {"p99": [(one.at, one.p99_ms) for one in found.burst]}),
    ]
    if found.seen:
        seen = {name: [(one["at"], float(one[name])) for one in found.seen] for name in ("queue_age_s", "replicas")}
        seen["level"] = [(one["at"], float(("full", "fast", "holding").index(one["level"]))) for one in found.seen]
        drawn.append(lines("A burst: queue age, replicas, level (0 full, 1 fast, 2 holding)", "s", "", seen))
    return drawn
