"""What the processes of a service cost: CPU time by role, and memory. Linux only: reads /proc."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

ROLES = (
    (r"ray::ServeReplica:\w+:(\w+)", ""),
    (r"ray::ProxyActor", "proxy"),
    (r"ray::ServeController", "controller"),
    (r"deployments\.preprocess\.worker", "decoder"),
    (r"/raylet\b", "raylet"),
    (r"/gcs_server\b", "gcs"),
    (r"ray/dashboard/\S*dashboard\.py|ray-dashboard", "dashboard"),
    (r"ray/dashboard/agent\.py|runtime_env/agent/main\.py|ray::\w*Agent", "agents"),
    (r"ray/_private/log_monitor\.py", "log monitor"),
    (r"ray::IDLE", "idle workers"),
    (r"serve run\b|benchmarks\.peers\.serve_batch", "driver"),
    (r"benchmarks\.peers\.|multiprocessing\.spawn|multiprocessing\.forkserver", "server"),
)
"""Patterns of command lines. A replica is called by its deployment."""

Key = tuple[int, int]
"""Process id, and when it started in ticks: ids are used again."""


def role_of(command: str) -> str:
    """What a process does in a service, from its command line; ``other`` where that is not known."""
    for pattern, role in ROLES:
        if found := re.search(pattern, command):
            return role or found.group(1).lower()
    return "other"


@dataclass(frozen=True, slots=True)
class Seen:
    """A process as /proc shows it; ``cpu_s`` is user and system time since it started."""

    key: Key
    parent: int
    role: str
    cpu_s: float
    is_zombie: bool = False


def parsed(pid: int, stat: str, command: str) -> Seen:
    """From the texts of ``/proc/PID/stat`` and ``cmdline``; the name in the former may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return Seen((pid, int(fields[19])), int(fields[1]), role_of(command), cpu_s, fields[0] == "Z")


def everyone(proc: Path = PROC) -> dict[int, Seen]:
    """All processes of the machine, by id."""
    found = {}
    for entry in proc.glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found[int(entry.name)] = parsed(int(entry.name), (entry / "stat").read_text(errors="replace"), command)
        except OSError:  # it ended meanwhile
            continue
    return found


def tree(root: int, processes: Mapping[int, Seen] | None = None) -> list[Seen]:
    """The process ``root`` and all its descendants; nothing once it has gone."""
    processes = everyone() if processes is None else processes
    children = defaultdict(list)
    for pid, seen in processes.items():
        children[seen.parent].append(pid)
    found, todo = [], [root] if root in processes else []
    while todo:
        pid = todo.pop()
        found.append(processes[pid])
        todo += children[pid]
    return found


def busy_s(stat: str) -> float:
    """CPU seconds that all processes of the machine have taken, from the text of ``/proc/stat``; what its host took
    from it (steal) among them."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def cpu_s_by_role(before: list[Seen], after: list[Seen]) -> dict[str, float]:
    """CPU seconds of each role between two looks at one tree, under the roles of the second."""
    known = {seen.key: seen.cpu_s for seen in before}
    spent: dict[str, float] = defaultdict(float)
    for seen in after:
        spent[seen.role] += seen.cpu_s - known.get(seen.key, 0.0)
    return dict(spent)


def memory_mb_by_role(processes: list[Seen], proc: Path = PROC) -> dict[str, float]:
    """Proportional set size (a page that n processes map counts 1 / n in each), summed up by role."""
    held: dict[str, float] = defaultdict(float)
    for seen in processes:
        try:
            lines = (proc / str(seen.key[0]) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        held[seen.role] += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return dict(held)
