"""One service through all counts of clients, with the load in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.peers.load import Load, Record, record_from
from benchmarks.peers.questions import ROOT, Asked
from benchmarks.peers.services import NotStarted, Running, Start, running
from benchmarks.process_costs import memory_mb_by_role, tree

WARM_UP_CLIENTS = 4
AT_REST_S = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of ramp, which do not count, and of counting."""

    ramp_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Session:
    """One start of a service: a record for each count of clients, memory after warming up, and seconds until ready."""

    records: dict[int, Record]
    memory_mb: dict[str, float]
    ready_s: float

    @property
    def others_cores(self) -> float:
        """How many cores' worth of work whatever else runs on the machine did, where it did most."""
        return max((one.others_cpu_s / one.seconds for one in self.records.values() if one.seconds), default=0.0)


def loaded(service: Running, questions: Sequence[Asked], clients: int, pace: Pace) -> Record:
    """What came of a load. Raises CalledProcessError."""
    load = Load(service.url, service.dialect, service.root, clients, pace.ramp_s, pace.seconds, list(questions))
    command = [sys.executable, "-m", "benchmarks.peers.load"]
    done = subprocess.run(
        command, input=json.dumps(asdict(load)).encode(), stdout=subprocess.PIPE, cwd=ROOT, check=True
    )
    return record_from(json.loads(done.stdout))


def demand_answers(record: Record) -> None:
    """Raises NotStarted for a service that refuses everything, with its words."""
    faults = [reply.fault for reply in record.replies if reply.fault]
    if len(faults) == len(record.replies):
        raise NotStarted(f"nothing is answered: {faults[:1]}")


def session(
    name: str, start: Start, questions: Mapping[int, Sequence[Asked]], warm_up: Sequence[Asked], pace: Pace
) -> Session:
    """Start the service, warm it up, load it with each count of clients, and end it. Raises NotStarted."""
    with running(name, start) as service:
        demand_answers(loaded(service, warm_up, WARM_UP_CLIENTS, Pace(0, len(warm_up) * 10)))
        time.sleep(AT_REST_S)  # what at rest means
        memory_mb = memory_mb_by_role(tree(service.root))
        records = {clients: loaded(service, asked, clients, pace) for clients, asked in questions.items()}
    return Session(records, memory_mb, service.ready_s)
