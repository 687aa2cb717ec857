"""What a model replica lets in and at which level: one decision for all of it, told with every answer and refusal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from deployments.contract import Flow, Level, Load, Question
from deployments.errors import Overloaded
from deployments.fairness import FairOrder
from deployments.model.demand import Demand
from deployments.model.engine import Clock, Engine, Generation
from deployments.model.ladder import Rules, Rung, step, worse
from deployments.model.pace import Pace
from deployments.scaling import ANSWERS, OFFERED

SLACK = 1.5
"""Who was let through by the ingress, and prepared, is not turned away for having been taken a little too late."""


@dataclass(frozen=True, slots=True)
class Let:
    """How a request was let in: its turn among the others, when it has to be begun, and whether it may have beams."""

    turn: float = 0.0
    begin_by: float = inf
    beams: bool = True


ANYBODY = Let()


@dataclass(slots=True)
class Gate:
    """Stands before one engine, which computes ``rows`` greedy answers at a time. For one thread.

    ``clock`` is the one that deadlines are on.
    """

    engine: Engine
    rows: int
    replica: str = ""
    clock: Clock = time.time
    rules: Rules = field(default_factory=Rules)
    pace: Pace = field(default_factory=Pace)
    demand: Demand = field(default_factory=Demand)
    _rung: Rung = field(default_factory=Rung)
    _order: FairOrder = field(default_factory=FairOrder)

    @contextmanager
    def let_in(self, question: Question) -> Iterator[Let]:
        """The request's place, for as long as the block lasts. Raises Overloaded, before any work, with the load."""
        now, flow = self.clock(), question.flow
        self._look(now)
        self.demand = self.demand.after(now, 1 + question.shed)
        try:
            if self.rules.admission:
                self._demand_time(now, flow, question.deadline)
            turn = self._order.enter(flow)
        except Overloaded as full:
            full.load = self.load()
            raise
        try:
            latest = question.deadline - self.pace.long_answer_s if self.rules.admission else inf
            yield Let(turn, latest, self.level is Level.FULL)
        except Overloaded as full:
            full.retry_after_s = full.retry_after_s or self.pace.wait_s(len(self._order), self.rows)
            full.load = self.load()
            raise
        finally:
            self._order.leave(flow, turn)
            self._look(self.clock())

    def answered(self, generation: Generation) -> None:
        """A generation has ended well: what it took is what others may expect."""
        running, waiting = self.engine.load()
        is_full = running + waiting >= self.rows
        self.pace = self.pace.after(self.clock(), generation.generate_ms / 1e3, running, is_full)

    @property
    def level(self) -> Level:
        """Where the service is; never better than the knobs allow."""
        ladder = self._rung.level if self.rules.ladder else Level.FULL
        return worse(ladder, self.rules.level)

    def stats(self) -> dict[str, float]:
        """What the autoscaling policy goes by."""
        return {OFFERED: self.demand.now(self.clock()), ANSWERS: self.pace.answers_per_s}

    def load(self) -> Load:
        self._look(self.clock())
        running, waiting = self.engine.load()
        held, age_s = self.engine.pressure()
        return Load(
            running, waiting, self.level, self.replica, self.rows, held, self.pace.gap_s, self.pace.long_answer_s,
            age_s, self._limit_s,
        )  # fmt: skip

    def _demand_time(self, now: float, flow: Flow, deadline: float) -> None:
        """Raises Overloaded where the answer would come too late, or the wait be longer than the level bears."""
        wait_s = self.pace.wait_s(self._order.ahead(flow), self.rows)
        if wait_s and (wait_s > SLACK * self._limit_s or now + wait_s + self.pace.long_answer_s > deadline):
            raise Overloaded(f"an answer would have to wait {wait_s:.1f} s here: ask again then", wait_s)

    def _look(self, now: float) -> None:
        """Let the ladder see how long requests wait, or would."""
        if self.rules.ladder is not None:
            _, age_s = self.engine.pressure()
            predicted_s = self.pace.wait_s(len(self._order), self.rows)
            self._rung = step(self._rung, now, max(age_s, predicted_s), self.rules.ladder)

    @property
    def _limit_s(self) -> float:
        return self.rules.ladder.holding_wait_s if self.rules.ladder is not None else inf
