"""Resident memory of each process of a running service: ``python benchmarks/resident_memory.py`` beside ``make serve``.

Linux only: reads /proc. Shared pages count in every process that maps them, so the sum is an upper bound.
"""

import re
from pathlib import Path

NAMES = (
    (r"ray::ServeReplica:\w+:(\w+)", "replica {}"),
    (r"ray::(ServeController|ProxyActor)", "{}"),
    (r"ray::(\S+)", "idle worker {}"),
    (r"/(gcs_server|raylet)\b", "Ray {}"),
    (r"ray/dashboard/(dashboard|agent)\.py|ray-dashboard", "Ray dashboard and agents"),
    (r"ray/_private/(log_monitor|runtime_env/agent/main)\.py", "Ray {}"),
    (r"deployments\.preprocess\.worker", "decoding process"),
    (r"bin/serve run", "serve run"),
)


def name_of(command: str) -> str | None:
    """What a process of Ray or of ours is called, from its command line; None for any other process."""
    for pattern, name in NAMES:
        found = re.search(pattern, command)
        if found:
            return name.format(next((group for group in found.groups() if group), "")) if found.groups() else name
    return None


def resident_mb(process: Path) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def main() -> None:
    rows = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if name := name_of(command):
                rows.append((resident_mb(process), name))
        except OSError:
            continue  # it ended meanwhile
    if not rows:
        raise SystemExit("no service runs here: start one with `make serve`")
    print("| process | resident MB |\n|---|---|")
    for resident, name in sorted(rows, reverse=True):
        print(f"| {name} | {resident} |")
    print(f"| sum, shared pages counted each time | {sum(resident for resident, _ in rows)} |")


if __name__ == "__main__":
    main()
