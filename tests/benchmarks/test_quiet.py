"""Waiting for a quiet machine."""

from itertools import count

import pytest

from benchmarks.quiet import QUIET_CORES, cores_in_use, wait_for_quiet


@pytest.mark.parametrize(
    ("most_s", "in_use", "quiet", "looks"),
    [(0, [], True, 0), (10, [0.0], True, 1), (10, [1.5, 0.9, QUIET_CORES / 2], True, 3), (4, [2.0] * 9, False, 3)],
)
def test_it_waits_until_little_runs_but_not_for_ever(most_s: float, in_use: list[float], quiet: bool, looks: int):
    ticking, left = count(), iter(in_use)
    looked: list[float] = []

    def look() -> float:
        looked.append(next(left))
        return looked[-1]

    assert wait_for_quiet(most_s, look, lambda: float(next(ticking))) is quiet
    assert len(looked) == looks


def test_what_is_in_use_is_read_off_the_machine():
    times = iter([0.0, 1000.0])
    assert 0 <= cores_in_use(lambda _: None, lambda: next(times)) < 1
