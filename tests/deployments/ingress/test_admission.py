"""Who is let through: by what replicas said last, by what is on its way already, and at nobody else's cost."""

from contextlib import ExitStack
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.contract import Flow, Level, Load
from deployments.errors import Overloaded
from deployments.ingress.admission import MOST_AWAY_S, Admission
from deployments.ingress.fleet import FORGET_S, Fleet

ANYBODY = Flow()


def load(running=4, waiting=0, gap_s=0.1, limit_s=inf, replica="a", level=Level.FULL, answer_s=0.5):
    return Load(running, waiting, level, replica, 4, 4, gap_s, answer_s, 0.0, limit_s)


class Place:
    def __init__(self, *loads):
        self.now, self.fleet, self.stack = 1000.0, Fleet(), ExitStack()
        self.admission = Admission(self.fleet, lambda: self.now)
        for one in loads:
            self.fleet.heard(one, self.now)

    def through(self, flow=ANYBODY, left_s=10.0):
        self.stack.enter_context(self.admission.let_through(flow, self.now + left_s))

    def filled(self, count, flow=ANYBODY, left_s=10.0):
        passed = 0
        for _ in range(count):
            try:
                self.through(flow, left_s)
                passed += 1
            except Overloaded:
                pass
        return passed


def test_before_the_model_has_said_anything_all_pass():
    assert Place().filled(300, left_s=0.1) == 300
    assert Place(load(gap_s=0.0)).filled(300, left_s=0.1) == 300


def test_as_many_pass_as_can_be_answered_in_time_though_no_word_comes_back_meanwhile():
    assert Place(load(running=0)).filled(500, left_s=2.0) == pytest.approx(4 + 15, abs=2)


def test_two_replicas_take_twice_as_many():
    place = Place(load(running=0), load(running=0, replica="b"))
    assert place.filled(500, left_s=2.0) == pytest.approx(2 * (4 + 15), abs=3)


def test_the_model_s_limit_counts():
    assert Place(load(running=0, limit_s=1.0)).filled(500, left_s=30.0) == pytest.approx(4 + 10, abs=2)
    both = Place(load(running=0, limit_s=1.0), load(running=0, replica="b"))
    assert both.filled(500, left_s=5.0) > 40


def test_what_others_have_sent_counts_too_and_is_worked_off():
    place = Place(load(waiting=100))
    with pytest.raises(Overloaded) as refused:
        place.through(left_s=5.0)
    assert refused.value.retry_after_s == pytest.approx(10.1, abs=0.3)
    place.now += 8.0
    place.through(left_s=5.0)


def test_who_is_turned_away_comes_back_one_after_the_other():
    place, told = Place(load(running=0, limit_s=1.0)), []
    for _ in range(500):
        try:
            place.through(left_s=60.0)
        except Overloaded as refused:
            told.append(refused.retry_after_s)
    assert told[0] == pytest.approx(1.0, abs=0.2)
    assert [later - earlier for earlier, later in pairwise(told[:100])] == [pytest.approx(0.1)] * 99
    assert max(told) == MOST_AWAY_S


def test_a_replica_that_says_nothing_any_more_is_forgotten():
    place = Place(load(waiting=1000), load(replica="b"))
    place.now += FORGET_S + 1
    place.fleet.heard(load(replica="b"), place.now)
    assert place.fleet.replicas == 1


def test_one_user_s_queue_does_not_shut_another_out():
    place = Place(load(running=0))
    place.filled(500, Flow("greedy"), left_s=2.0)
    for user in range(5):
        place.through(Flow("others", str(user)), left_s=2.0)


def test_what_is_turned_away_is_told_once():
    place = Place(load(running=0))
    passed = place.filled(100, left_s=1.0)
    assert place.admission.take_shed() == 100 - passed
    assert place.admission.take_shed() == 0


def test_the_best_replica_s_level_is_the_service_s():
    fleet = Fleet()
    assert fleet.level is Level.FULL
    fleet.heard(load(level=Level.HOLDING), 0.0)
    assert fleet.level is Level.HOLDING
    fleet.heard(load(level=Level.FAST, replica="b"), 0.0)
    assert fleet.level is Level.FAST


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0, 60), st.integers(0, 500))
def test_the_wait_is_never_negative_and_grows_with_what_is_ahead(mine, ahead, later_s, waiting):
    fleet = Fleet()
    fleet.heard(load(waiting=waiting), 0.0)
    ahead = min(ahead, mine)
    assert 0 <= fleet.wait_s(mine, ahead, later_s) <= fleet.wait_s(mine + 1, ahead + 1, later_s) + 1e-9
