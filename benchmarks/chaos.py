"""What becomes of requests while parts of the service die: ``python -m benchmarks.chaos [--json OUT]``.

The shipped application, two replicas of each deployment on two nodes of one machine (``ray.cluster_utils.Cluster``),
under a constant open-loop load. In each run something is done to it after a quarter of the time: a process is killed or
stopped, a node goes, knobs or the model change. See docs/load.md.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from threading import Timer

from benchmarks.cluster import READY_S, Config, Place, of, service_on
from benchmarks.load.__main__ import asked
from benchmarks.load.arrivals import poisson, steady
from benchmarks.load.figures import ANSWERS, HOLDING
from benchmarks.load.generator import Sent
from benchmarks.load.sessions import WARM_UP_CLIENTS, WARM_UP_S, Target
from benchmarks.peers import ours
from benchmarks.peers.__main__ import prepare_to_end
from benchmarks.peers.services import free_port
from benchmarks.process_costs import Seen, tree

REPLICAS = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the requests of one run: ``failed`` are errors by what they said, ``lost`` had no reply at all."""

    requests: int
    answered: int
    held: int
    failed: dict[str, int]
    lost: int
    right_share: float
    slowest_ms: float


def outcome(sent: Sequence[Sent]) -> Outcome:
    answers = [one for one in sent if one.level in ANSWERS]
    faults = Counter(one.fault for one in sent if one.fault)
    lost = sum(number for fault, number in faults.items() if fault.startswith("nothing within"))
    return Outcome(
        requests=len(sent),
        answered=len(answers),
        held=sum(one.level == HOLDING for one in sent),
        failed={fault: number for fault, number in faults.items() if not fault.startswith("nothing within")},
        lost=lost,
        right_share=sum(one.right for one in answers) / max(1, len(answers)),
        slowest_ms=max((one.ms for one in sent), default=0.0),
    )


def wait_for_all(place: Place) -> None:
    """Until everything answers, with all its replicas. Raises NotReady, DeploymentFailed, TimeoutError."""
    from ray import serve

    place.wait()
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        deployments = serve.status().applications["tuwen"].deployments.values()
        if all(one.replica_states.get("RUNNING", 0) == REPLICAS and one.status == "HEALTHY" for one in deployments):
            return
        time.sleep(0.5)
    raise TimeoutError(f"not all replicas run after {READY_S:.0f} s")


def processes(role: str) -> list[Seen]:
    return [seen for seen in tree(os.getpid()) if seen.role == role and not seen.is_zombie]


def signalled(role: str, number: signal.Signals) -> Callable[[Place], None]:
    def happen(_: Place) -> None:
        os.kill(processes(role)[0].key[0], number)

    return happen


def node_removed(place: Place) -> None:
    place.lose_node()


def knobs_changed(place: Place) -> None:
    """Live: no replica starts anew."""
    of(place.config, "Model")["user_config"]["beam_width"] = 3
    place.deploy()


def model_changed(place: Place) -> None:
    """Rolling: every replica starts anew, beside those that serve."""
    place.config["applications"][0]["args"]["model"]["rows"]["rows"] = 12
    place.deploy()


def nothing(_: Place) -> None:
    pass


EVENTS: dict[str, Callable[[Place], None]] = {
    "nothing": nothing,
    "a model replica killed": signalled("model", signal.SIGKILL),
    "a preprocessor killed": signalled("preprocessor", signal.SIGKILL),
    "an ingress killed": signalled("ingress", signal.SIGKILL),
    "a decoder killed": signalled("decoder", signal.SIGKILL),
    "the controller killed": signalled("controller", signal.SIGKILL),
    "a model replica stopped": signalled("model", signal.SIGSTOP),
    "knobs changed": knobs_changed,
    "another model": model_changed,
    "a node removed": node_removed,
}


def two_of_each(port: int) -> Config:
    """The shipped config, with two replicas of each deployment and a health check that notices within seconds."""
    config = ours.changed(ours.shipped(), port, None)
    config["applications"][0]["args"]["model"] |= {"device": "cpu", "threads": 1}
    for name in ("Ingress", "Preprocessor", "Model"):
        one = of(config, name)
        one.pop("num_replicas", None)
        scaling = one.setdefault("autoscaling_config", {"target_ongoing_requests": 1000})
        scaling |= {"min_replicas": REPLICAS, "max_replicas": REPLICAS}
        one |= {"health_check_period_s": 2, "health_check_timeout_s": 5}
    return config


def measure(options: argparse.Namespace) -> Iterator[tuple[str, Outcome]]:
    """Each event, and what became of the requests meanwhile."""
    with service_on(two_of_each(free_port()), num_cpus=2) as where:
        wait_for_all(where)
        target = Target(
            where.url, os.getpid(), asked(repeating=False), options.deadline, sends_timeout=False, marks=count()
        )
        target.closed(WARM_UP_CLIENTS, 0.0, WARM_UP_S)
        for number, name in enumerate(options.events):
            timer = Timer(options.seconds / 4, EVENTS[name], [where])
            timer.start()
            taken = target.open(poisson(steady(options.per_s, options.seconds), seed=number))
            timer.join()
            yield name, outcome(taken.sent)
            wait_for_all(where)


def table(found: dict[str, Outcome]) -> str:
    lines = ["| what happens | requests | answered | held | failed | lost | right | slowest s |", "|" + "---|" * 8]
    lines += [
        f"| {name} | {one.requests} | {one.answered} | {one.held} | {sum(one.failed.values())} | {one.lost} "
        f"| {one.right_share:.1%} | {one.slowest_ms / 1e3:.1f} |"
        for name, one in found.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--events", nargs="+", choices=EVENTS, default=list(EVENTS), metavar="NAME")
    parser.add_argument("--per-s", type=float, default=6, help="requests a second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=40, help="of each run (default %(default)s)")
    parser.add_argument("--deadline", type=float, default=10)
    options = parser.parse_args()
    prepare_to_end()
    found: dict[str, Outcome] = {}
    for name, one in measure(options):
        found[name] = one
        print(f"{name}: {one}", file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps({name: asdict(one) for name, one in found.items()}, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
