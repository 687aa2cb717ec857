"""The service under more load than it can answer: ``python -m benchmarks.load [--json OUT]``.

Finds C, the highest rate at which 99 of 100 requests get a full answer within the deadline, and C1, the same for greedy
answers; offers multiples of C, open loop; has clients ask in a closed loop; and sends a burst. Requests are drawn
before each run (Poisson) and their times are counted from when they were to be sent. See docs/load.md.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load import watching
from benchmarks.load.arrivals import Phase, burst, poisson, steady
from benchmarks.load.figures import Figures, answers_per_s, highest, middle, timeline
from benchmarks.load.result import SHIPPED, Found, Run, as_json, page, table
from benchmarks.load.sessions import Target, target
from benchmarks.load.variants import VARIANTS, config_of
from benchmarks.peers.__main__ import prepare_to_end
from benchmarks.peers.questions import ROOT, Asked, draw_all
from benchmarks.peers.report import processor

FIRST_PER_S, MOST_PER_S, SEARCH_STEPS = 2.0, 256.0, 4
SHARE = 0.99
PICTURES = 400
"""Drawn once; every request has one of them with a mark of its own."""
SAME_PICTURE = 4
"""Questions about a picture in a row, with ``--repeating``."""


class Progress:
    """A bar on stderr, with the time that is left by what has been done so far."""

    def __init__(self, steps: int) -> None:
        self._steps, self._done, self._began = steps, 0, time.monotonic()

    def __call__(self, line: str) -> None:
        self._done += 1
        share = min(1.0, self._done / self._steps)
        left_s = (time.monotonic() - self._began) * (1 / share - 1)
        bar = "#" * round(share * 20)
        print(f"[{bar:20}] {share:4.0%} {left_s / 60:3.0f} min left  {line}", file=sys.stderr, flush=True)


def search(shot: Target, seconds: float, level: str, say: Progress) -> float:
    """The highest rate at which ``SHARE`` of the requests get an answer of that level within the deadline."""

    def holds(per_s: float) -> bool:
        found, _ = shot.measured(poisson(steady(per_s, seconds), seed=0), seconds)
        share = found.full_share if level == "full" else found.goodput_per_s / found.offered_per_s
        say(f"{level} at {per_s:.1f}/s: {share:.1%}")
        return share >= SHARE

    return highest(holds, FIRST_PER_S, SEARCH_STEPS, MOST_PER_S)


def offered(shot: Target, per_s: float, options: argparse.Namespace, say: Progress) -> Figures:
    """The middle of all seeds at one rate."""
    found = []
    for seed in range(1, options.seeds + 1):
        one, _ = shot.measured(poisson(steady(per_s, options.seconds), seed), options.seconds)
        say(f"{per_s:.1f}/s, seed {seed}: {one.goodput_per_s:.1f} answers in time/s")
        found.append(one)
    return middle(found)


def closed(shot: Target, options: argparse.Namespace, say: Progress) -> dict[int, float]:
    found = {}
    for clients in options.clients:
        seconds = options.ramp + options.closed_seconds
        found[clients] = answers_per_s(shot.closed(clients, options.ramp, seconds), options.ramp, seconds)
        say(f"{clients} clients: {found[clients]:.1f} answers/s")
    return found


def bursting(shot: Target, c: float, options: argparse.Namespace) -> tuple[list[Any], list[dict[str, Any]]]:
    """The timeline of ten seconds of ten times C, and what ``/v1/load`` said meanwhile."""
    phases: list[Phase] = burst(c * 0.8, c * 10, 10, 10, options.after)
    seconds = sum(phase.seconds for phase in phases)
    with watching.load_of(shot.url) as seen:
        taken = shot.open(poisson(phases, seed=1))
    return timeline(taken.sent, seconds), seen.since_first_of(taken)


def asked(repeating: bool) -> list[Asked]:
    """Questions about pictures that do not repeat; or several questions about each, one after the other."""
    drawn = list(draw_all(range(PICTURES), workers=2).values())
    return [one for one in drawn for _ in range(SAME_PICTURE)] if repeating else drawn


def measure(options: argparse.Namespace) -> Iterator[Found]:
    """What has been found so far, after each part."""
    loads, seeds = options.loads, options.seeds
    say = Progress(2 * 9 + len(loads) * seeds * len(options.variants) + len(options.clients) + 1)
    questions, runs = asked(options.repeating), dict[str, list[Run]]()
    c1 = options.c1
    if not c1:
        with target("load-fast", config_of("fast"), questions, options.deadline) as shot:
            c1 = search(shot, options.search_seconds, "fast", say)
    c, found_closed, timeline_, seen = options.c, dict[int, float](), list[Any](), list[dict[str, Any]]()

    def found() -> Found:
        return Found(c, c1, options.seconds, options.deadline, runs, found_closed, timeline_, seen, processor())

    for variant in (SHIPPED, *(one for one in options.variants if one != SHIPPED)):
        with target(f"load-{variant}", config_of(variant), questions, options.deadline) as shot:
            c = c or search(shot, options.search_seconds, "full", say)
            runs[variant] = []
            for load in loads:
                runs[variant].append(Run(load, offered(shot, load * c, options, say), seeds))
                yield found()
            if variant == SHIPPED:
                found_closed |= closed(shot, options, say)
                timeline_[:], seen[:] = bursting(shot, c, options)
                say("burst")
                yield found()


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, metavar="OUT", help="the result; the HTML report stands beside it")
    parser.add_argument("--loads", type=float, nargs="+", default=[1, 2, 4, 10], metavar="X", help="multiples of C")
    parser.add_argument("--seconds", type=float, default=60, help="of each run (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs at each load, whose middle counts")
    parser.add_argument("--deadline", type=float, default=10, help="seconds (default %(default)s)")
    parser.add_argument("--clients", type=int, nargs="*", default=[16, 64, 256], metavar="N", help="of the closed loop")
    parser.add_argument("--closed-seconds", type=float, default=20)
    parser.add_argument("--ramp", type=float, default=5, help="seconds of a closed loop that do not count")
    parser.add_argument("--search-seconds", type=float, default=20, help="of each run that looks for C and C1")
    parser.add_argument("--after", type=float, default=40, help="seconds after the burst that are looked at")
    parser.add_argument("--c", type=float, default=0, help="where C is known already")
    parser.add_argument("--c1", type=float, default=0, help="where C1 is known already")
    parser.add_argument("--repeating", action="store_true", help="four questions about each picture")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[SHIPPED], metavar="NAME",
                        help=f"beside the service itself: {', '.join(VARIANTS)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="one seed of 12 seconds, short searches")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.seconds, options.search_seconds, options.closed_seconds, options.after = 1, 12, 8, 8, 20
    return options


def main() -> None:
    options = parsed()
    prepare_to_end()
    out: Path = options.json or ROOT / "build" / "load.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    found = None
    for found in measure(options):
        out.write_text(json.dumps(as_json(found), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        out.with_suffix(".html").write_text(page(found), encoding="utf-8")
    if found is not None:
        print(table(found))


if __name__ == "__main__":
    main()
