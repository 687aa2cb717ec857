"""What is predicted from what was measured."""

import pytest

from deployments.model.demand import WINDOW_S, Demand
from deployments.model.pace import Pace


def run(pace, count, every_s, took_s, running, waiting, now=0.0):
    for _ in range(count):
        now += every_s
        pace = pace.after(now, took_s, running, running + waiting >= 16)
    return pace, now


def test_the_gap_between_answers_of_a_full_engine_is_learned():
    pace, _ = run(Pace(), 200, 0.07, took_s=1.1, running=15, waiting=30)
    assert pace.gap_s == pytest.approx(0.07, rel=0.05)
    assert pace.wait_s(ahead=115, room=16) == pytest.approx(7.0, rel=0.05)


def test_a_pause_without_work_is_no_gap():
    pace, now = run(Pace(), 200, 0.07, took_s=1.1, running=15, waiting=30)
    pace, now = run(pace, 1, 0.07, took_s=1.1, running=0, waiting=0, now=now)
    quiet, _ = run(pace, 20, 60.0, took_s=0.2, running=0, waiting=0, now=now)
    assert quiet.gap_s == pytest.approx(pace.gap_s)


def test_before_the_engine_was_ever_full_what_one_answer_took_is_what_there_is():
    pace, _ = run(Pace(), 3, 5.0, took_s=0.4, running=3, waiting=0)
    assert pace.gap_s == pytest.approx(0.1)
    assert Pace().wait_s(ahead=50, room=16) == 0


def test_one_that_waits_for_its_picture_makes_an_engine_of_free_rows_not_a_full_one():
    pace, _ = run(Pace(), 200, 0.5, took_s=0.4, running=2, waiting=1)
    assert pace.answers_per_s == 0
    assert pace.gap_s == pytest.approx(0.4 / 3)


def test_who_finds_room_does_not_wait():
    pace, _ = run(Pace(), 20, 0.1, took_s=1.6, running=15, waiting=5)
    assert pace.wait_s(ahead=15, room=16) == 0
    assert pace.wait_s(ahead=16, room=16) == pytest.approx(0.1, rel=0.2)


def test_a_long_answer_is_longer_than_most():
    pace = Pace()
    for number in range(200):
        pace = pace.after(number, 2.0 if number % 2 else 0.2, 3, False)
    assert 2.0 < pace.long_answer_s < 4.0


def test_demand_follows_what_is_asked_and_is_forgotten():
    demand = Demand()
    for number in range(300):
        demand = demand.after(number / 10, 2)
    assert demand.now(30.0) == pytest.approx(20.0, rel=0.1)
    assert demand.now(30.0 + 10 * WINDOW_S) < 0.01
