"""The whole service on a simulated clock: arrivals, the ingress's admission, replicas that come and go, the policy."""

import heapq
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from math import inf
from types import SimpleNamespace
from typing import Any

from benchmarks.load.generator import Sent
from benchmarks.simulation.costs import Asked, Costs
from benchmarks.simulation.engine import Job, SimulatedEngine
from deployments.contract import Flow, Level, Question, Usage
from deployments.errors import Overloaded
from deployments.ingress.admission import Admission
from deployments.ingress.fleet import Fleet
from deployments.model.engine import Generation
from deployments.model.gate import Gate
from deployments.model.ladder import LadderKnobs, Rules
from deployments.scaling import Scaling

DECIDE_S = 1.0
CODEL_TARGET_S, CODEL_INTERVAL_S = 0.5, 2.0
"""Beyond this wait, for so long, whoever has waited longer is turned away as his turn comes."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the service does against overload. ``bound``: so many requests at a time and no more; ``codel``: shedding by
    time waited; ``scaling`` None: as many replicas as there are at the start."""

    ladder: LadderKnobs | None = None
    admission: bool = False
    collapse: bool = True
    bound: int | None = None
    codel: bool = False
    level: Level = Level.FULL
    scaling: Scaling | None = None
    most_replicas: int = 1
    up_s: float = 5.0
    down_s: float = 120.0

    @property
    def rules(self) -> Rules:
        return Rules(self.level, self.ladder, self.admission)


@dataclass(slots=True)
class Clock:
    """Simulated time, and what is to happen in it."""

    now: float = 0.0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _ids: "count[int]" = field(default_factory=count)

    def __call__(self) -> float:
        return self.now

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._ids), what))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()


@dataclass(slots=True)
class Replica:
    """One engine behind its gate; ``going``: it takes no more requests."""

    name: str
    clock: Clock
    engine: SimulatedEngine
    gate: Gate
    outstanding: int = 0
    going: bool = False
    _awake: bool = False

    def wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._step()

    def _step(self) -> None:
        took_s = self.engine.step()
        if took_s:
            self.clock.at(self.clock.now + took_s, self._stepped)
            return
        self._awake = False
        if (seen_at := self.engine.next_seen()) < inf:
            self.clock.at(max(seen_at, self.clock.now + 1e-4), self.wake)

    def _stepped(self) -> None:
        finished, self.engine.finished = self.engine.finished, []
        for job in finished:
            job.ended(job)
        self._step()


@dataclass(slots=True)
class World:
    """One run; ``sent`` are its outcomes, ``replicas_over_time`` (seconds, replicas) each change."""

    costs: Costs
    policy: Policy
    deadline_s: float
    clock: Clock = field(default_factory=Clock)
    fleet: Fleet = field(default_factory=Fleet)
    replicas: list[Replica] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    replicas_over_time: list[tuple[float, int]] = field(default_factory=list)
    levels_over_time: list[tuple[float, Level]] = field(default_factory=list)
    _starting: int = 0
    _since: float | None = None
    _codel_since: float | None = None
    _ids: "count[int]" = field(default_factory=count)
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        self.admission = Admission(self.fleet, self.clock)

    def run(self, asked: Sequence[Asked], replicas: int, seconds: float) -> list[Sent]:
        """What becomes of these requests, with so many replicas at the start."""
        for _ in range(replicas):
            self._come()
        for one in asked:
            self.clock.at(one.at, lambda one=one: self._arrives(one))  # type: ignore[misc]
        if self.policy.scaling is not None:
            self.clock.at(DECIDE_S, self._decide)
        self.clock.run(seconds + 6 * self.deadline_s)
        return self.sent

    def _come(self) -> None:
        engine = SimulatedEngine(self.costs, self.clock, self.policy.collapse)
        name = str(next(self._ids))
        gate = Gate(engine, self.costs.rows, name, self.clock, self.policy.rules)  # type: ignore[arg-type]
        self.replicas.append(Replica(name, self.clock, engine, gate))
        self.replicas_over_time.append((self.clock.now, len(self.replicas)))

    def _arrives(self, one: Asked) -> None:
        flow, stack, deadline = Flow(user=one.user), ExitStack(), one.at + self.deadline_s
        try:
            if self.policy.admission:
                stack.enter_context(self.admission.let_through(flow, deadline))
            elif self.policy.bound is not None and self._outstanding >= self.policy.bound * len(self.replicas):
                raise Overloaded("full")
        except Overloaded:
            self._over(one, "holding", stack)
            return
        self.clock.at(self.clock.now + self.costs.prepare_s, lambda: self._asks(one, flow, deadline, stack))

    def _asks(self, one: Asked, flow: Flow, deadline: float, stack: ExitStack) -> None:
        """The model, at the replica that has least to do."""
        replica = min((r for r in self.replicas if not r.going), key=lambda r: r.outstanding)
        replica.outstanding += 1
        stack.callback(lambda: setattr(replica, "outstanding", replica.outstanding - 1))
        question = Question("id", "text", None, deadline, flow=flow, shed=self.admission.take_shed())
        try:
            let = stack.enter_context(replica.gate.let_in(question))
        except Overloaded:
            self._tell(replica)
            self._over(one, "holding", stack)
            return

        def ended(job: Job | None) -> None:
            if job is not None:
                generation = Generation((), "", job.level, "stop", Usage(1, 1, 1), 0.0, job.took_s * 1e3)
                replica.gate.answered(generation)
            self._tell(replica)
            self._over(one, job.level if job is not None else late, stack)

        late = "holding" if self.policy.admission or self.policy.codel else ""
        replica.engine.add(
            Job(next(self._ids), one.prompt_tokens, one.answer_tokens, let, deadline, self.clock.now, ended)
        )
        if self.policy.codel:
            self._shed_by_age(replica)
        replica.wake()

    def _tell(self, replica: Replica) -> None:
        load = replica.gate.load()
        self.fleet.heard(load, self.clock.now)
        if not self.levels_over_time or self.levels_over_time[-1][1] is not self.fleet.level:
            self.levels_over_time.append((self.clock.now, self.fleet.level))

    def _over(self, one: Asked, level: str, stack: ExitStack) -> None:
        stack.close()
        fault = "" if level else "504"
        self.sent.append(Sent(one.at, 0.0, (self.clock.now - one.at) * 1e3, str(level), fault, True, "", one.user))
        for replica in [r for r in self.replicas if r.going and not r.outstanding]:
            self.replicas.remove(replica)
            self.replicas_over_time.append((self.clock.now, len(self.replicas)))

    def _shed_by_age(self, replica: Replica) -> None:
        """CoDel on the engine's queue: beyond its target for an interval, whoever has waited too long goes."""
        _, age_s = replica.engine.pressure()
        self._codel_since = (self._codel_since or self.clock.now) if age_s > CODEL_TARGET_S else None
        if self._codel_since is None or self.clock.now - self._codel_since < CODEL_INTERVAL_S:
            return
        late = [job for job in replica.engine.waiting if self.clock.now - job.arrived > CODEL_TARGET_S]
        for job in late:
            replica.engine.waiting.remove(job)
            job.ended(None)

    @property
    def _outstanding(self) -> int:
        return sum(replica.outstanding for replica in self.replicas)

    def _decide(self) -> None:
        """As Serve's controller does: the policy, then its delays and bounds."""
        assert self.policy.scaling is not None
        staying = [replica for replica in self.replicas if not replica.going]
        target = len(staying) + self._starting
        stats: dict[str, dict[str, float]] = {}
        for replica in staying:
            for name, value in replica.gate.stats().items():
                stats.setdefault(name, {})[replica.name] = value
        wanted = max(1, min(self.policy.most_replicas, self._wanted(self.policy.scaling, stats, target)))
        self._since = None if wanted == target else (self._since or self.clock.now)
        delay_s = self.policy.up_s if wanted > target else self.policy.down_s
        if self._since is not None and self.clock.now - self._since >= delay_s:
            self._since = None
            self._scale(wanted - target, staying)
        self.clock.at(self.clock.now + DECIDE_S, self._decide)

    def _wanted(self, scaling: Scaling, stats: dict[str, Any], target: int) -> int:
        config = SimpleNamespace(get_target_ongoing_requests=lambda: self.costs.rows)
        context = SimpleNamespace(
            deployment_name="Model", target_num_replicas=target, aggregated_metrics=stats,
            total_num_requests=self._outstanding, config=config,
        )  # fmt: skip
        return scaling({"model": context})[0].get("model", target)

    def _scale(self, by: int, staying: list[Replica]) -> None:
        for _ in range(max(0, by)):
            self._starting += 1
            self.clock.at(self.clock.now + self.costs.start_s, self._started)
        for replica in staying[: max(0, -by)]:
            replica.going = True

    def _started(self) -> None:
        self._starting -= 1
        self._come()
