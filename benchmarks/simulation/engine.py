"""A replica's engine on a simulated clock: the row scheduler's own plans, carried out by adding up what steps cost."""

from bisect import insort_right
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from benchmarks.simulation.costs import Costs
from deployments.contract import Level
from deployments.model.gate import Let
from deployments.model.rows.scheduler import Running, Waiting, plan

BEAMS = 4


@dataclass(slots=True, eq=False)
class Job:
    """A request in the engine. ``ended`` is told when it is over; nothing if it was never begun."""

    id: int
    prompt_tokens: int
    answer_tokens: int
    let: Let
    deadline: float
    arrived: float
    ended: Callable[["Job | None"], None]
    seen_at: float = inf
    width: int = 0
    wanted: int = BEAMS
    missing: int = 0
    generated: int = 0
    began: float = 0.0
    done_at: float = 0.0
    level: Level = Level.FAST

    @property
    def took_s(self) -> float:
        return self.done_at - self.began


@dataclass(slots=True)
class SimulatedEngine:
    """What ``Gate`` and the ladder see of an engine.

    ``step`` returns how long the step takes, 0 where nothing is to do; ``finished`` are those that end with it.
    """

    costs: Costs
    clock: Callable[[], float]
    collapse: bool = True
    waiting: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    seen: float = 0.0
    """When the vision tower has seen all that was asked of it."""
    finished: list[Job] = field(default_factory=list)

    def load(self) -> tuple[int, int]:
        return len(self.running), len(self.waiting)

    def pressure(self) -> tuple[int, float]:
        oldest = min((job.arrived for job in self.waiting), default=self.clock())
        return sum(job.width for job in self.running), self.clock() - oldest

    def add(self, job: Job) -> None:
        job.wanted = BEAMS if job.let.beams else 1
        insort_right(self.waiting, job, key=lambda one: one.let.turn)

    def step(self) -> float:
        now = self.clock()
        self._drop_late(now)
        self._look(now)
        self._make_room(now)
        room = self.costs.prefill_tokens - sum(job.width for job in self.running if not job.missing)
        taken = self._prefill(max(0, room))
        decoding = [job for job in self.running if not job.missing]
        rows = sum(job.width for job in decoding)
        if not taken and not rows:
            return 0.0
        took_s = self.costs.step_s + self.costs.row_s * rows + self.costs.token_s * taken
        for job in decoding:
            self._advance(job, now + took_s)
        return took_s

    def next_seen(self) -> float:
        """When the next picture will have been seen."""
        return min((job.seen_at for job in self.waiting), default=inf)

    def _look(self, now: float) -> None:
        """The vision tower sees one picture after the other, of those who wait in their order."""
        for job in self.waiting:
            if self.seen > now:
                return
            if job.seen_at == inf:
                job.seen_at = self.seen = now + self.costs.picture_s

    def _drop_late(self, now: float) -> None:
        for job in [job for job in self.waiting if now >= min(job.let.begin_by, job.deadline)]:
            self.waiting.remove(job)
            job.ended(None)

    def _make_room(self, now: float) -> None:
        decided = plan(
            free=self.costs.rows - sum(job.width for job in self.running),
            waiting=[
                Waiting(job.id, job.wanted, job.prompt_tokens, 0, self.collapse, job.seen_at <= now)
                for job in self.waiting
            ],
            running=[
                Running(job.id, job.width, job.generated, self.collapse, 1 < job.width < job.wanted)
                for job in self.running
            ],
            prefill_tokens=max(0, self.costs.prefill_tokens - sum(job.missing for job in self.running)),
        )
        for job in self.running:
            if job.id in decided.collapse:
                job.width = 1
        widths = dict(decided.admit)
        for job in [job for job in self.waiting if job.id in widths]:
            self.waiting.remove(job)
            job.width, job.missing, job.began = widths[job.id], job.prompt_tokens, now
            self.running.append(job)

    def _prefill(self, room: int) -> int:
        taken = 0
        for job in self.running:
            piece = min(job.missing, room - taken)
            job.missing -= piece
            taken += piece
        return taken

    def _advance(self, job: Job, now: float) -> None:
        job.generated += 1
        if job.generated >= job.answer_tokens:
            job.done_at, job.level = now, Level.FULL if 1 < job.width == job.wanted else Level.FAST
            self.running.remove(job)
            self.finished.append(job)
