"""The whole service beside what a user would take instead: ``python -m benchmarks.peers [--json OUT]``.

Every service answers the same questions about the same pictures, none of which it has seen before, from the same
checkpoint, over HTTP, to clients that ask again as soon as they have their answer. One service is alive at a time; in
each round all are started anew, and medians of the rounds are reported. Peers run in float32 and bfloat16, and the
faster of the two counts at each number of clients. See docs/speed.md.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from subprocess import CalledProcessError
from types import FrameType
from typing import Any

from tokenizers import Tokenizer

from benchmarks.peers import ours
from benchmarks.peers.figures import Figures, figures, merged, middle
from benchmarks.peers.measuring import Pace, Session, session
from benchmarks.peers.questions import WARM_UP, Asked, draw_all, plan
from benchmarks.peers.report import as_json, cost_table, counted, doubts, sum_table, table
from benchmarks.peers.services import DTYPES, SERVICES, NotStarted, adopt_orphans, make_environments, start_of
from benchmarks.quiet import QUIET_CORES, wait_for_quiet
from demo.checkpoint import FOLDER as CHECKPOINT

OURS_DTYPE = "as configured"
Subject = tuple[str, str]
"""A service and the type that it computes in."""

Sessions = dict[Subject, list[Session]]
Questions = dict[int, list[Asked]]
"""By how many clients they are asked."""


def subjects(services: Sequence[str], dtypes: Sequence[str]) -> list[Subject]:
    """Peers in each of the types, ours in the config's."""
    return [(service, dtype) for service in services for dtype in ((OURS_DTYPE,) if service in ours.LEVELS else dtypes)]


def turns(rounds: int, every: Sequence[Subject]) -> Iterator[tuple[int, Subject]]:
    """All subjects in each round, each time beginning with another."""
    for turn in range(rounds):
        first = turn * len(every) // rounds
        yield from ((turn, subject) for subject in (*every[first:], *every[:first]))


def measure(options: argparse.Namespace, say: Callable[[str], None], keep: Callable[[Sessions], None]) -> Sessions:
    """A session of each subject in each round; of those that could not be had there are fewer, or none.

    ``keep`` is told all there is after each.
    """
    planned = plan(options.clients, options.ramp + options.seconds, options.rounds)
    numbers = [number for numbers in planned for part in numbers.values() for number in part]
    say("making the peers' environments, or taking those made before")
    make_environments(options.services, options.fresh)
    say(f"drawing {len(numbers)} pictures, or taking those drawn before")
    asked = draw_all([*WARM_UP, *numbers], options.threads)
    sessions: Sessions = defaultdict(list)
    todo, took = list(turns(options.rounds, subjects(options.services, options.dtypes))), list[float]()
    for done, (turn, subject) in enumerate(todo):
        left_s = median(took) * (len(todo) - done) if took else 0
        say(f"round {turn + 1}, {', '.join(subject)}" + (f"; about {left_s / 60:.0f} min left" if left_s else ""))
        began = time.monotonic()
        questions = {clients: [asked[number] for number in part] for clients, part in planned[turn].items()}
        try:
            one = quietest_session(subject, questions, [asked[n] for n in WARM_UP], options, say)
        except (NotStarted, CalledProcessError) as fault:
            say(f"  left out of this round: {fault}")
            continue
        sessions[subject].append(one)
        keep(sessions)
        took.append(time.monotonic() - began)
        say("  " + ", ".join(f"{c}: {len(r.replies) / (r.seconds or 1):.1f}/s" for c, r in one.records.items()))
    return sessions


def quietest_session(
    subject: Subject,
    questions: Questions,
    warm_up: list[Asked],
    options: argparse.Namespace,
    say: Callable[[str], None],
) -> Session:
    """The first session that nothing else disturbed; where there is none in so many tries, the least disturbed."""
    tried: list[Session] = []
    for _ in range(options.tries):
        wait_for_quiet(options.wait_quiet)
        tried.append(one_session(subject, questions, warm_up, options))
        if tried[-1].others_cores < QUIET_CORES:
            break
        say(f"  something else took {tried[-1].others_cores:.0%} of a core meanwhile")
    return min(tried, key=lambda one: one.others_cores)


def one_session(subject: Subject, questions: Questions, warm_up: list[Asked], options: argparse.Namespace) -> Session:
    service, dtype = subject
    start = start_of(service, dtype, options.threads, options.checkpoint)
    return session("-".join(subject).replace(" ", "-"), start, questions, warm_up, Pace(options.ramp, options.seconds))


def missing(sessions: Sessions, options: argparse.Namespace) -> list[Subject]:
    """Who was asked for and could not be measured in any round."""
    return [subject for subject in subjects(options.services, options.dtypes) if subject not in sessions]


def result(sessions: Sessions, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, dict[int, Figures]]]:
    """All as JSON, and the figures that count by service and number of clients."""
    tokenizer = Tokenizer.from_file(str(options.checkpoint / "tokenizer.json"))

    def tokens_of(answer: str) -> int:
        return len(tokenizer.encode(answer, add_special_tokens=False).ids)

    measured: dict[str, dict[str, Any]] = defaultdict(dict)
    for (service, dtype), every in sessions.items():
        measured[service][dtype] = {
            clients: middle([figures(one.records[clients], tokens_of) for one in every]) for clients in options.clients
        }
    run = {"threads": options.threads, "rounds": options.rounds, "seconds": options.seconds}
    return as_json(measured, **run, **at_rest(sessions)), counted(measured)


def at_rest(sessions: Sessions) -> dict[str, dict[str, Any]]:
    """Memory in MB (proportional set size) by process, warmed up, and seconds until ready, of each subject."""
    named = {
        service if service in ours.LEVELS else f"{service}, {dtype}": s for (service, dtype), s in sessions.items()
    }
    memory = {name: merged([one.memory_mb for one in every]) for name, every in named.items()}
    return {
        "memory_mb": {name: rounded({"sum": sum(by.values())} | by) for name, by in memory.items()},
        "ready_s": rounded({name: median(one.ready_s for one in every) for name, every in named.items()}),
    }


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in values.items()}


def tables(best: dict[str, dict[int, Figures]], found: dict[str, Any], clients: Sequence[int]) -> str:
    mine = {name: best[name] for name in best if name in ours.LEVELS}
    rest = [
        f"| {name} | {memory['sum']:.0f} | {found['ready_s'][name]:.1f} |"
        for name, memory in found["memory_mb"].items()
    ]
    resting = "\n".join(["| at rest | MB | ready after s |", "|---|---|---|", *rest])
    return "\n\n".join(
        [table(best), sum_table(best), cost_table(mine or best, clients[-2:]), resting, "\n".join(doubts(best))]
    )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64], metavar="N")
    parser.add_argument("--services", nargs="+", choices=SERVICES, default=list(SERVICES), metavar="NAME",
                        help=f"some of {', '.join(SERVICES)} (default: all)")  # fmt: skip
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="of the peers")
    parser.add_argument("--rounds", type=int, default=3, help="whose medians are reported (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="that count, for each number of clients")
    parser.add_argument("--ramp", type=float, default=3, help="seconds before them that do not (default %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="torch threads of the peers (default: cores)"
    )
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="of the peers; ours is the config's")
    parser.add_argument("--wait-quiet", type=float, default=0, metavar="SECONDS",
                        help="before each service, wait so long at most until nothing else is running")  # fmt: skip
    parser.add_argument("--tries", type=int, default=1, metavar="N",
                        help="measure a service up to N times in a round until nothing else ran beside it")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="one round of 4 seconds")
    parser.add_argument("--fresh", action="store_true", help="make the peers' environments anew")
    parser.add_argument("--json", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 4.0
    options.clients = sorted(set(options.clients))
    return options


def end_cleanly(number: int, _frame: FrameType | None) -> None:
    """For signals: what is left on the way out ends its service."""
    raise SystemExit(128 + number)


def prepare_to_end() -> None:
    """However this process ends, short of being killed, what it has started ends with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end_cleanly)
    adopt_orphans()


def main() -> None:
    options = parsed()
    prepare_to_end()

    def keep(sessions: Sessions) -> None:
        if options.json:
            found = json.dumps(result(sessions, options)[0], ensure_ascii=False, indent=1)
            options.json.write_text(found + "\n", encoding="utf-8")

    sessions = measure(options, lambda line: print(line, file=sys.stderr, flush=True), keep)
    found, best = result(sessions, options)
    print(tables(best, found, options.clients))
    if left_out := missing(sessions, options):
        raise SystemExit("could not be measured: " + "; ".join(", ".join(subject) for subject in left_out))


if __name__ == "__main__":
    main()
