"""The ladder: fast down, slow up, no flapping; and it never stays down when the load has gone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.contract import Level
from deployments.model.ladder import RUNGS, LadderKnobs, Rung, step

KNOBS = LadderKnobs(fast_wait_s=0.5, holding_wait_s=3.0, calm_share=0.5, calm_s=5.0, dwell_s=10.0)


def climbed(waits, rung=None, every_s=0.1, began=0.0, knobs=KNOBS):
    """(time, level) of each change under these waits, one every ``every_s``; and where the ladder ends."""
    rung, changes = rung or Rung(), []
    for number, wait_s in enumerate(waits):
        now = began + number * every_s
        after = step(rung, now, wait_s, knobs)
        if after.level is not rung.level:
            changes.append((now, after.level))
        rung = after
    return changes, rung


def test_a_wait_that_is_too_long_leads_down_at_once():
    assert step(Rung(), 1.0, 0.6, KNOBS).level is Level.FAST
    assert step(Rung(), 1.0, 0.5, KNOBS).level is Level.FULL


def test_a_wait_that_nobody_is_let_in_for_is_holding_at_once():
    assert step(Rung(), 1.0, 3.1, KNOBS).level is Level.HOLDING
    just_risen = Rung(Level.FULL, changed=0.0)
    assert step(just_risen, 1.0, 3.1, KNOBS).level is Level.HOLDING
    assert step(just_risen, 1.0, 3.0, KNOBS).level is Level.FULL


def test_it_goes_up_one_rung_at_a_time_after_calm():
    changes, _ = climbed([9.0] + [0.0] * 400)
    assert changes == [(0.0, Level.HOLDING), (pytest.approx(10.0), Level.FAST), (pytest.approx(20.0), Level.FULL)]


def test_a_wait_between_the_thresholds_keeps_the_level():
    _, low = climbed([0.6])
    assert climbed([0.3] * 600, low, began=0.1)[0] == []
    assert climbed([0.2] * 600, low, began=0.1)[0] != []


def test_calm_is_counted_anew_after_each_disturbance():
    _, low = climbed([0.6])
    assert climbed(([0.0] * 45 + [0.4]) * 10, low, began=0.1)[0] == []


def test_what_was_calm_while_nobody_asked_counts():
    low = step(step(Rung(), 0.0, 1.0, KNOBS), 1.0, 0.0, KNOBS)
    assert step(low, 60.0, 0.0, KNOBS).level is Level.FULL


@given(st.lists(st.floats(0, 3), max_size=400))
def test_full_and_fast_do_not_flap(waits):
    changes, _ = climbed(waits, every_s=0.5)
    assert all(later - earlier >= KNOBS.dwell_s for (earlier, _), (later, _) in pairwise(changes))


@given(st.lists(st.floats(0, 20), max_size=400))
def test_no_step_up_follows_a_change_within_the_dwell(waits):
    changes, _ = climbed(waits, every_s=0.5)
    levels = [Level.FULL] + [level for _, level in changes]
    for (earlier, before), (later, after) in pairwise(zip([0.0, *(at for at, _ in changes)], levels, strict=True)):
        if RUNGS.index(after) < RUNGS.index(before):
            assert later - earlier >= KNOBS.dwell_s


@given(st.lists(st.floats(0, 20), max_size=100))
def test_it_comes_back_whatever_has_been(waits):
    _, rung = climbed(waits, every_s=0.5)
    _, rung = climbed([0.0] * 100, rung, every_s=0.5, began=len(waits) * 0.5)
    assert rung.level is Level.FULL


@given(st.lists(st.floats(0, 20), min_size=1, max_size=100))
def test_one_rung_at_a_time_up(waits):
    changes, _ = climbed(waits, every_s=2.0)
    levels = [Level.FULL] + [level for _, level in changes]
    for before, after in pairwise(levels):
        assert RUNGS.index(before) - RUNGS.index(after) <= 1


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="must be more than fast_wait_s"):
        LadderKnobs(fast_wait_s=3, holding_wait_s=2)
