"""What would happen: ``python -m benchmarks.simulate --replicas 4 --per-s 40`` says it without a cluster.

The real row scheduler, ladder, admission, fairness and autoscaling policy, on a simulated clock; only what steps cost
is a figure of the machine (benchmarks/simulation/costs.py). ``--compare`` sets what the service does beside what it
could do, ``--plan 1000`` finds how many replicas answer so many pictures a second. See docs/load.md.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.cluster import of
from benchmarks.load.arrivals import poisson, steady
from benchmarks.load.figures import Figures, figures
from benchmarks.load.generator import Taken
from benchmarks.load.plots import lines
from benchmarks.peers.ours import shipped
from benchmarks.simulation.costs import COSTS, Costs, Mix
from benchmarks.simulation.world import Policy, World
from deployments.contract import Level
from deployments.model.ladder import LadderKnobs
from deployments.scaling import Scaling

LADDER = LadderKnobs.model_validate(of(shipped(), "Model")["user_config"]["ladder"])
AS_SHIPPED = Policy(LADDER, admission=True)
POLICIES = {
    "both": AS_SHIPPED,
    "ladder only": replace(AS_SHIPPED, collapse=False),
    "collapse only": replace(AS_SHIPPED, ladder=None),
    "neither": replace(AS_SHIPPED, ladder=None, collapse=False),
    "no hysteresis": replace(
        AS_SHIPPED, ladder=LADDER.model_copy(update={"calm_share": 0.99, "calm_s": 0, "dwell_s": 0})
    ),
    "unbounded": Policy(),
    "bounded": Policy(bound=40),
    "codel": Policy(codel=True),
}
"""What is compared; the first one is the service as it is."""
GOOD = 0.99


def simulated(costs: Costs, policy: Policy, per_s: float, replicas: int, options: argparse.Namespace) -> World:
    """A run of ``--seconds`` at a constant rate."""
    times = poisson(steady(per_s, options.seconds), options.seed)
    world = World(costs, policy, options.deadline)
    world.run(Mix().asked(times, [str(user) for user in range(options.users)], options.seed), replicas, options.seconds)
    return world


def figures_of(world: World, seconds: float) -> Figures:
    return figures(Taken(world.sent, 0.0, seconds, 0.0), seconds, world.deadline_s)


def changes(world: World) -> int:
    """How often the level changed."""
    return len(world.levels_over_time) - 1


def planned(costs: Costs, per_s: float, level: Level, options: argparse.Namespace) -> int:
    """The fewest replicas that give ``GOOD`` of such requests an answer of at least that level in time."""

    def is_enough(replicas: int) -> bool:
        found = figures_of(simulated(costs, AS_SHIPPED, per_s, replicas, options), options.seconds)
        good = found.full_share if level is Level.FULL else found.goodput_per_s / found.offered_per_s
        return good >= GOOD

    high = 1
    while not is_enough(high):
        high *= 2
    low = high // 2
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def row(name: str, world: World, seconds: float) -> str:
    one = figures_of(world, seconds)
    full, fast, holding = (one.levels.get(level, 0.0) for level in ("full", "fast", "holding"))
    return (
        f"{name:14} {one.offered_per_s:8.1f} {one.goodput_per_s:8.1f} {full:6.1%} {fast:6.1%} {holding:8.1%} "
        f"{one.admitted_p50_ms:7.0f} {one.admitted_p99_ms:7.0f} {changes(world):7d}"
    )


HEAD = (
    f"{'':14} {'offered':>8} {'goodput':>8} {'full':>6} {'fast':>6} {'holding':>8} {'p50 ms':>7} {'p99 ms':>7} changes"
)


def compared(costs: Costs, options: argparse.Namespace) -> list[str]:
    """A table of every policy at every rate."""
    return [
        row(name, simulated(costs, policy, per_s, options.replicas, options), options.seconds)
        for per_s in options.per_s
        for name, policy in POLICIES.items()
    ]


def scaled(costs: Costs, options: argparse.Namespace) -> World:
    """The rate with the autoscaling policy at work."""
    policy = replace(AS_SHIPPED, scaling=Scaling(full_cost=options.full_cost), most_replicas=options.most)
    return simulated(costs, policy, options.per_s[0], options.replicas, options)


def plot(world: World, seconds: float) -> str:
    """Replicas and answers a second over time, as SVG."""
    per_second = [0.0] * (int(seconds) + 1)
    for one in world.sent:
        if one.level in ("full", "fast") and one.at + one.ms / 1e3 <= seconds:
            per_second[int(one.at + one.ms / 1e3)] += 1
    series = {
        "replicas": [(at, float(there)) for at, there in world.replicas_over_time],
        "answers/s": [(float(at), answers) for at, answers in enumerate(per_second)],
    }
    return lines("Simulated: replicas and answers a second", "s", "", series)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kind", choices=COSTS, default="demo-cpu", help="whose costs (default %(default)s)")
    parser.add_argument("--replicas", type=int, default=1, help="at the start (default %(default)s)")
    parser.add_argument("--per-s", type=float, nargs="+", default=[4, 16, 40], help="requests a second")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--deadline", type=float, default=10)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compare", action="store_true", help="beside what else could be done")
    parser.add_argument("--scale", action="store_true", help="with the autoscaling policy, at the first rate")
    parser.add_argument("--most", type=int, default=8, help="replicas, with --scale")
    parser.add_argument("--full-cost", type=float, default=2.0, help="of the policy, with --scale")
    parser.add_argument("--plan", type=float, metavar="PER_S", help="how many replicas answer so many a second")
    parser.add_argument("--json", type=Path, metavar="OUT", help="the figures; a plot stands beside it")
    return parser.parse_args(arguments)


def main() -> None:
    options, costs = parsed(), None
    costs, began, found = COSTS[options.kind], time.monotonic(), dict[str, Any]()
    if options.plan:
        found = {str(level): planned(costs, options.plan, level, options) for level in (Level.FULL, Level.FAST)}
        print(f"{options.plan:g}/s on {options.kind}: " + ", ".join(f"{n} replicas for {k}" for k, n in found.items()))
    elif options.scale:
        world = scaled(costs, options)
        print("\n".join([HEAD, row("scaled", world, options.seconds)]))
        print("replicas: " + ", ".join(f"{there} from {at:.0f} s" for at, there in world.replicas_over_time))
        if options.json:
            options.json.with_suffix(".svg.html").write_text(plot(world, options.seconds), encoding="utf-8")
    elif options.compare:
        print("\n".join([HEAD, *compared(costs, options)]))
    else:
        worlds = {per_s: simulated(costs, AS_SHIPPED, per_s, options.replicas, options) for per_s in options.per_s}
        found = {str(per_s): asdict(figures_of(world, options.seconds)) for per_s, world in worlds.items()}
        print("\n".join([HEAD, *(row("both", world, options.seconds) for world in worlds.values())]))
    print(f"in {time.monotonic() - began:.1f} s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
