"""Waiting until nothing else runs on the machine: beside a busy process, threads that wait for each other in
OpenMP's barriers lose far more than their share of the cores."""

import time
from collections.abc import Callable

from benchmarks.process_costs import PROC, busy_s

QUIET_CORES = 0.15
LOOK_S = 3.0


def cores_in_use(sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.perf_counter) -> float:
    """How many cores' worth of work the machine did while this process slept."""
    began, before = clock(), busy_s((PROC / "stat").read_text())
    sleep(LOOK_S)
    return (busy_s((PROC / "stat").read_text()) - before) / (clock() - began)


def wait_for_quiet(
    most_s: float, look: Callable[[], float] = cores_in_use, clock: Callable[[], float] = time.monotonic
) -> bool:
    """Whether the machine became quiet within ``most_s``; without looking where that is 0."""
    deadline = clock() + most_s
    while clock() < deadline:
        if look() < QUIET_CORES:
            return True
    return most_s == 0
