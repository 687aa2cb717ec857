"""What a replica lets in: nothing that could not be answered in time, nobody at another's cost, and it tells its load."""

from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from deployments.contract import Flow, Level, Question, Usage
from deployments.errors import Overloaded
from deployments.model.engine import Generation
from deployments.model.gate import SLACK, Gate
from deployments.model.ladder import LadderKnobs, Rules

ROWS = 4
LADDER = LadderKnobs(fast_wait_s=0.5, holding_wait_s=3.0, calm_s=5.0, dwell_s=10.0)

ANYBODY = Flow()


@dataclass
class Engine:
    """As a row engine tells of itself."""

    running: int = 0
    waiting: int = 0
    age_s: float = 0.0

    def load(self):
        return self.running, self.waiting

    def pressure(self):
        return self.running, self.age_s


@dataclass
class Place:
    """A gate before an engine of four rows that gives an answer every 0.1 s, each of which takes 0.4 s."""

    rules: Rules
    now: float = 1000.0
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self):
        self.gate = Gate(self.engine, ROWS, "replica", lambda: self.now, self.rules)
        self.stack = ExitStack()
        self.engine.running, self.engine.waiting = 3, 1
        for _ in range(100):
            self.now += 0.1
            self.gate.answered(Generation((), "", Level.FAST, "stop", Usage(1, 1, 1), 0.0, 400.0))

    def asked(self, flow=ANYBODY, left_s=10.0, shed=0):
        question = Question("id", "text", None, self.now + left_s, flow=flow, shed=shed)
        return self.stack.enter_context(self.gate.let_in(question))

    def filled(self, count, flow=ANYBODY, left_s=10.0):
        """How many of so many are let in."""
        let_in = 0
        for _ in range(count):
            try:
                self.asked(flow, left_s)
                let_in += 1
            except Overloaded:
                pass
        return let_in


@pytest.fixture
def place():
    return Place(Rules(Level.FULL, LADDER, admission=True))


def test_as_many_are_let_in_as_can_be_answered_within_the_deadline(place):
    assert place.filled(200, left_s=2.0) == pytest.approx(ROWS + (2.0 - 0.4) / 0.1, abs=2)


def test_a_refusal_tells_the_wait_and_the_load(place):
    place.filled(200, left_s=2.0)
    with pytest.raises(Overloaded) as refused:
        place.asked(left_s=2.0)
    assert refused.value.retry_after_s == pytest.approx(1.6, abs=0.2)
    assert refused.value.load.replica == "replica"
    assert refused.value.load.gap_s == pytest.approx(0.1, rel=0.05)


def test_a_short_deadline_is_refused_where_a_long_one_is_not(place):
    place.filled(30, left_s=20.0)
    with pytest.raises(Overloaded):
        place.asked(left_s=2.0)
    place.asked(left_s=5.0)


def test_where_there_is_room_even_a_short_deadline_is_tried(place):
    place.asked(left_s=0.1)


def test_one_flow_s_queue_does_not_shut_another_out(place):
    place.filled(200, Flow("greedy"), left_s=2.0)
    assert place.asked(Flow("other"), left_s=2.0).turn <= 2


def test_who_has_been_let_in_has_to_be_begun_in_time(place):
    let = place.asked(left_s=5.0)
    assert let.begin_by == pytest.approx(place.now + 5.0 - 0.4, abs=0.1)


def test_the_wait_is_bounded_at_any_level(place):
    assert place.asked().beams
    assert place.gate.load().limit_s == 3.0
    assert place.filled(200, left_s=60.0) == pytest.approx(ROWS + SLACK * 3.0 / 0.1, abs=2)
    assert place.gate.level is Level.HOLDING


def test_an_old_request_is_a_long_wait_even_where_none_is_predicted(place):
    place.engine.age_s = 1.0
    assert place.gate.load().level is Level.FAST


def test_it_comes_back_once_nobody_waits(place):
    place.filled(80, left_s=60.0)
    place.stack.close()
    place.engine.waiting = 0
    place.gate.load()
    for _ in range(30):
        place.now += 1.0
        place.gate.load()
    assert place.gate.level is Level.FULL


def test_the_knob_s_level_is_the_best_there_is():
    assert Place(Rules(Level.FAST, LADDER, admission=True)).gate.level is Level.FAST
    assert not Place(Rules(Level.FAST)).asked().beams


def test_without_ladder_and_admission_everybody_is_let_in():
    assert Place(Rules()).filled(500, left_s=0.1) == 500


def test_what_is_refused_and_what_others_shed_is_demand(place):
    place.gate.demand = type(place.gate.demand)(at=place.now)
    place.filled(100, left_s=1.0)
    assert place.gate.demand.now(place.now) == pytest.approx(100 / 5)
    with pytest.raises(Overloaded):
        place.asked(left_s=1.0, shed=49)
    assert place.gate.demand.now(place.now) == pytest.approx(150 / 5)


def test_an_overload_of_the_engine_s_own_tells_the_load_too(place):
    with pytest.raises(Overloaded) as refused, place.gate.let_in(Question("id", "text", None, place.now + 9)):
        raise Overloaded("256 requests wait here already")
    assert refused.value.load is not None
    assert len(place.gate._order) == 0
