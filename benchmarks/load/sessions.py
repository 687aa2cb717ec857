"""The service under load: started on a config, warmed up, shot at by a generator of its own process."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from benchmarks.load.figures import Figures, figures
from benchmarks.load.generator import Job, Taken, taken_from
from benchmarks.peers.questions import ROOT, Asked
from benchmarks.peers.services import ours_with, running
from benchmarks.process_costs import PROC, busy_s, cpu_s_by_role, tree

WARM_UP_CLIENTS, WARM_UP_S = 8, 6.0
STAT = PROC / "stat"


@dataclass(slots=True)
class Target:
    """A running service, and the pictures that it has not seen yet."""

    url: str
    root: int
    asked: Sequence[Asked]
    deadline_s: float
    sends_timeout: bool
    marks: "count[int]"

    def open(self, times: Sequence[float], users: Sequence[str] = ()) -> Taken:
        """Requests at these times. Raises CalledProcessError."""
        return self._shot(self._job(len(times), times=list(times), users=list(users)))

    def closed(self, clients: int, ramp_s: float, seconds: float) -> Taken:
        room = int(seconds * 45) + clients
        return self._shot(self._job(room, clients=clients, seconds=seconds, ramp_s=ramp_s))

    def measured(self, times: Sequence[float], seconds: float) -> tuple[Figures, dict[str, float]]:
        """The figures of an open loop, and CPU milliseconds a second of each role meanwhile."""
        before, busy = tree(self.root), busy_s(STAT.read_text())
        taken = self.open(times)
        spent = cpu_s_by_role(before, tree(self.root))
        others = busy_s(STAT.read_text()) - busy - sum(spent.values()) - taken.process_s
        found = figures(taken, seconds, self.deadline_s, max(0.0, others) / taken.seconds)
        return found, {role: cpu_s * 1e3 / taken.seconds for role, cpu_s in spent.items()}

    def _job(self, marks: int, **rest: Any) -> Job:
        first = next(self.marks) * 100_000
        assert marks < 100_000, "each job has marks of its own"
        given = {"times": [], "users": []} | rest
        return Job(
            self.url, list(self.asked), first, timeout_s=self.deadline_s if self.sends_timeout else None, **given
        )

    def _shot(self, job: Job) -> Taken:
        command = [sys.executable, "-m", "benchmarks.load.generator"]
        data = json.dumps(asdict(job)).encode()
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, cwd=ROOT, check=True)
        return taken_from(json.loads(done.stdout))


@contextmanager
def target(name: str, config: dict[str, Any], asked: Sequence[Asked], deadline_s: float) -> Iterator[Target]:
    """The service on this config, warmed up. Raises NotStarted."""
    with running(name, ours_with(config, name)) as service:
        made = Target(service.url, service.root, asked, deadline_s, sends_timeout=False, marks=count())
        made.closed(WARM_UP_CLIENTS, 0.0, WARM_UP_S)
        yield made
