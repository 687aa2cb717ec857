"""What is read off a run of replicas that follow a load, and the model that takes time."""

import math

from benchmarks.autoscaling import ANSWER_S, FULL_ROWS, ROWS
from benchmarks.autoscaling.__main__ import config_of, first, ups
from benchmarks.autoscaling.slow import SlowEngine
from deployments.contract import Level


def test_when_so_many_ran_first():
    assert first([1, 1, 2, 4], 2) == 2
    assert first([1, 1, 2, 4], 4) == 3
    assert math.isnan(first([1, 1], 2))


def test_replicas_that_come_back_after_having_gone_have_not_settled():
    assert ups([1, 2, 4, 4, 3, 1]) == 0
    assert ups([1, 2, 1, 2, 4]) == 2


def test_a_slow_engine_gives_as_many_answers_as_it_has_rows():
    engine = SlowEngine()
    asked = [engine.submit(FULL_ROWS) for _ in range(ROWS // FULL_ROWS + 1)]
    assert engine.load() == (ROWS, 1)
    first_ones = [one.result(timeout=10) for one in asked[:-1]]
    assert {one.level for one in first_ones} == {Level.FULL}
    last = asked[-1].result(timeout=10)
    assert last.queue_ms >= ANSWER_S * 1e3 * 0.9
    assert engine.load() == (0, 0)


def test_serve_s_own_policy_is_the_other_config():
    (ours,), (serve,) = config_of("ours", 1)["applications"], config_of("serve", 1)["applications"]
    assert "autoscaling_policy" in ours
    assert "autoscaling_policy" not in serve
