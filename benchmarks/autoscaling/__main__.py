"""Replicas that follow a step of load: ``python -m benchmarks.autoscaling [--policy ours serve] [--json OUT]``.

The shipped application on two nodes of one machine (``ray.cluster_utils.Cluster``) with two logical GPUs each, and a
model in its place that takes time instead of computing: what is seen is the gate, its reports, the scaling policy and
Serve's controller. The load rises from one replica's worth to four and falls again. ``serve`` is Serve's own policy,
which counts the requests that were let in and so sees less demand the more is turned away. See docs/load.md.
"""

import argparse
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.autoscaling import FULL_ROWS, ROWS, WORTH_PER_S
from benchmarks.cluster import Config, of, service_on
from benchmarks.load.__main__ import asked
from benchmarks.load.arrivals import burst, poisson
from benchmarks.load.figures import ANSWERS, HOLDING
from benchmarks.load.sessions import Target
from benchmarks.peers import ours
from benchmarks.peers.__main__ import prepare_to_end
from benchmarks.peers.services import free_port

LEAST, MOST = 1, 4


@dataclass(frozen=True, slots=True)
class Found:
    """``replicas`` is how many model replicas ran each second; requests by level, and what failed."""

    replicas: list[int]
    levels: dict[str, int]
    faults: dict[str, int]
    first_more_s: float
    four_after_s: float
    changes_up: int


def config_of(policy: str, port: int) -> Config:
    config = ours.changed(ours.shipped(), port, None, "benchmarks.autoscaling.slow:build")
    (application,) = config["applications"]
    application["args"]["model"] |= {"device": "cuda", "gpu_fraction": 1.0, "quantization": "none"}
    of(config, "Model")["autoscaling_config"] |= {"min_replicas": LEAST, "max_replicas": MOST, "downscale_delay_s": 20}
    application["autoscaling_policy"]["policy_kwargs"]["full_cost"] = FULL_ROWS
    if policy == "serve":
        application.pop("autoscaling_policy")
        of(config, "Model")["autoscaling_config"]["target_ongoing_requests"] = ROWS
    return config


class Counting(threading.Thread):
    """Looks each second how many model replicas run, until told to end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen, self.over = list[int](), threading.Event()

    def run(self) -> None:
        from ray import serve

        while not self.over.wait(1.0):
            states = serve.status().applications["tuwen"].deployments["Model"].replica_states
            self.seen.append(states.get("RUNNING", 0))


def found_of(replicas: list[int], sent: Sequence[Any], before_s: float) -> Found:
    levels = {level: sum(one.level == level for one in sent) for level in (*ANSWERS, HOLDING)}
    faults = dict(Counter(one.fault for one in sent if one.fault))
    return Found(
        replicas, levels, faults, first(replicas, 2) - before_s, first(replicas, MOST) - before_s, ups(replicas)
    )


def first(replicas: Sequence[int], many: int) -> float:
    """The second in which so many ran; nan if they never did."""
    return next((second for second, running in enumerate(replicas) if running >= many), float("nan"))


def ups(replicas: Sequence[int]) -> int:
    """How often replicas became more after having become fewer: 0 where they settle."""
    falls = [second for second in range(1, len(replicas)) if replicas[second] < replicas[second - 1]]
    return sum(replicas[second] > replicas[second - 1] for second in range(falls[0], len(replicas))) if falls else 0


def measured(policy: str, options: argparse.Namespace) -> Found:
    with service_on(config_of(policy, free_port()), num_cpus=2, num_gpus=2) as place:
        target = Target(place.url, os.getpid(), asked(repeating=False), 10, sends_timeout=False, marks=count())
        target.closed(2, 0.0, 3.0)
        counting = Counting()
        counting.start()
        phases = burst(WORTH_PER_S, MOST * WORTH_PER_S, options.seconds, options.before, options.after)
        taken = target.open(poisson(phases, seed=1))
        counting.over.set()
        counting.join()
        return found_of(counting.seen, taken.sent, options.before)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--policy", nargs="+", choices=("ours", "serve"), default=("ours", "serve"))
    parser.add_argument("--before", type=float, default=15, help="seconds at one replica's worth")
    parser.add_argument("--seconds", type=float, default=60, help="at four replicas' worth (default %(default)s)")
    parser.add_argument("--after", type=float, default=60, help="seconds at one replica's worth again")
    options = parser.parse_args()
    prepare_to_end()
    found: dict[str, Found] = {}
    for policy in options.policy:
        found[policy] = measured(policy, options)
        print(f"{policy}: {found[policy]}", file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps({policy: asdict(one) for policy, one in found.items()}, indent=1))


if __name__ == "__main__":
    main()
