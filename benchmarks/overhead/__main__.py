"""What the graph adds to the model: ``python -m benchmarks.overhead [--json OUT]``.

Three things are asked, one after the other in each round, each in processes of its own:

- the shipped application with a model that answers at once, by 1 and by 16 clients: all that is left is the graph;
- the shipped application, by one client;
- a ``VisionModel`` directly, with the same questions about the same pictures: from the file's bytes, and from pixels
  that are prepared, which is the engine alone.

The graph's overhead is the second's p50 less the engine's. CPU time is that of all processes of the first.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.overhead.direct import Direct
from benchmarks.peers import ours
from benchmarks.peers.__main__ import prepare_to_end
from benchmarks.peers.figures import Figures, figures, merged
from benchmarks.peers.load import Record
from benchmarks.peers.measuring import Pace, session
from benchmarks.peers.questions import ROOT, WARM_UP, Asked, draw_all
from benchmarks.peers.services import free_port, ours_with

INSTANT = "benchmarks.overhead.instant:build"
FIRST = 500_000
"""Number of the first question: others than those of ``benchmarks.peers``."""
MANY = 16
MANY_QUESTIONS = 500
MOST_REFUSED = 0.02
TO_THE_END = Pace(0, math.inf)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round saw: the instant graph by clients, and the milliseconds of each question, in one order, that the
    service and the direct calls took; None where the service refused."""

    instant: dict[int, Figures]
    service_ms: list[float | None]
    direct: Direct


def instant(numbers: dict[int, Sequence[Asked]], warm_up: Sequence[Asked]) -> dict[int, Figures]:
    start = ours_with(ours.changed(ours.shipped(), free_port(), None, INSTANT), "instant")
    records = session("instant", start, numbers, warm_up, TO_THE_END).records
    return {clients: figures(_sound(record), len) for clients, record in records.items()}


def service_ms(questions: Sequence[Asked], warm_up: Sequence[Asked], level: str) -> list[float | None]:
    start = ours_with(ours.changed(ours.shipped(), free_port(), level), "service")
    record = session("service", start, {1: questions}, warm_up, TO_THE_END).records[1]
    return [None if reply.fault else reply.ms for reply in _sound(record).replies]


def _sound(record: Record) -> Record:
    """Raises SystemExit where more is refused than the pictures that the safety checks take for cards."""
    faults = [reply.fault for reply in record.replies if reply.fault]
    if len(faults) > MOST_REFUSED * len(record.replies):
        raise SystemExit(f"{len(faults)} of {len(record.replies)} requests failed, the first with {faults[0]}")
    return record


def direct(questions: Sequence[Asked], warm_up: Sequence[Asked], level: str) -> Direct:
    told = {"questions": [asdict(asked) for asked in (*warm_up, *questions)], "level": level}
    command = [sys.executable, "-m", "benchmarks.overhead.direct"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, input=json.dumps(told).encode(), stdout=subprocess.PIPE, cwd=ROOT, env=environment, check=True
    )
    return Direct(**json.loads(done.stdout))


def one_round(one: Sequence[Asked], many: Sequence[Asked], warm_up: Sequence[Asked], level: str) -> Round:
    """The first question of the service begins its counting and is left out on both sides."""
    answered = service_ms(one, warm_up, level)
    called = direct(one[1:], warm_up, level)
    return Round(instant({1: one, MANY: many}, warm_up), answered, called)


def result(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians of the rounds, in milliseconds."""
    service, whole, engine = (
        median(median(times[place] for times in answered_ms(one)) for one in rounds) for place in range(3)
    )
    return {
        "p50_ms": _rounded(median(one.instant[1].p50_ms for one in rounds)),
        "direct_p50_ms": _rounded(whole),
        "cpu_ms_per_request": _cpu(rounds, 1),
        "service_p50_ms": _rounded(service),
        "engine_p50_ms": _rounded(engine),
        "graph_overhead_ms": _rounded(service - engine),
        "paired_overhead_ms": _rounded(median(paired_ms(one) for one in rounds)),
        f"p50_ms_{MANY}": _rounded(median(one.instant[MANY].p50_ms for one in rounds)),
        f"requests_per_s_{MANY}": _rounded(median(one.instant[MANY].requests_per_s for one in rounds)),
        f"cpu_ms_per_request_{MANY}": _cpu(rounds, MANY),
    }


def answered_ms(one: Round) -> list[tuple[float, float, float]]:
    """What service, whole direct call and engine took for each question that the service answered."""
    times = zip(one.service_ms, one.direct.whole_ms, one.direct.engine_ms, strict=True)
    return [(service, whole, engine) for service, whole, engine in times if service is not None]


def paired_ms(one: Round) -> float:
    """The median over questions of what the service takes longer than the engine for that same question."""
    return median(service - engine for service, _, engine in answered_ms(one))


def _cpu(rounds: Sequence[Round], clients: int) -> dict[str, float]:
    by_role = merged([one.instant[clients].cpu_ms_per_request for one in rounds])
    return {role: _rounded(ms) for role, ms in by_role.items()}


def _rounded(value: float) -> float:
    return round(value, 2)


def table(found: dict[str, Any]) -> str:
    one, many = found["cpu_ms_per_request"], found[f"cpu_ms_per_request_{MANY}"]
    lines = [
        "| p50 ms, 1 client | |\n|---|---|",
        f"| the graph with a model that answers at once | {found['p50_ms']:.1f} |",
        f"| a direct call with the file | {found['direct_p50_ms']:.1f} |",
        f"| a direct call with prepared pixels: the engine | {found['engine_p50_ms']:.1f} |",
        f"| the service | {found['service_p50_ms']:.1f} |",
        f"| **the graph's overhead**: the service less the engine | {found['graph_overhead_ms']:.1f} |",
        f"| the same, question by question | {found['paired_overhead_ms']:.1f} |",
        f"\n| CPU ms a request, the model answering at once | 1 client | {MANY} clients |\n|---|---|---|",
    ]
    roles = sorted(one.keys() | many.keys(), key=lambda role: -one.get(role, 0.0))
    lines += [f"| {role} | {one.get(role, 0.0):.1f} | {many.get(role, 0.0):.1f} |" for role in roles]
    lines.append(f"| **sum** | {sum(one.values()):.1f} | {sum(many.values()):.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="whose medians are reported (default %(default)s)")
    parser.add_argument("--questions", type=int, default=80, help="of the one client (default %(default)s)")
    parser.add_argument("--level", choices=("fast", "full"), default="fast", help="of the service and the direct calls")
    parser.add_argument("--json", type=Path, metavar="OUT")
    options = parser.parse_args()
    prepare_to_end()
    size = options.questions + MANY_QUESTIONS
    numbers = range(FIRST, FIRST + options.rounds * size)
    asked = draw_all([*WARM_UP, *numbers], os.cpu_count() or 1)
    warm_up, rounds = [asked[number] for number in WARM_UP], list[Round]()
    for turn in range(options.rounds):
        print(f"round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)
        these = [asked[number] for number in numbers[turn * size : (turn + 1) * size]]
        one, many = these[: options.questions], these[options.questions :]
        rounds.append(one_round(one, many, warm_up, options.level))
    found = result(rounds) | {"level": options.level, "rounds": options.rounds}
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
