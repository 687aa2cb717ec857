"""The load ladder: at which level a replica answers, by how long requests wait there. A pure function of time.

Down at once, over several rungs if need be; up one rung at a time, after the wait has been short for a while. No change
follows a step up within ``dwell_s``, so that at constant load there is at most one in that time.
"""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployments.contract import Level

RUNGS = (Level.FULL, Level.FAST, Level.HOLDING)
"""From the best answers down."""


class LadderKnobs(BaseModel):
    """Seconds that requests wait in the engine's queue, or would: the one signal of the ladder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    fast_wait_s: float = Field(0.5, gt=0, description="a longer wait: greedy answers")
    holding_wait_s: float = Field(
        3.0, gt=0, description="a longer wait that lasts: who would wait longer is not let in"
    )
    holding_after_s: float = Field(2.0, ge=0, description="how long it must last; until then deadlines alone decide")
    calm_share: float = Field(0.5, gt=0, lt=1, description="of a rung's wait: below it the way up begins")
    calm_s: float = Field(5.0, ge=0, description="how long it must stay below it before a step up")
    dwell_s: float = Field(10.0, ge=0, description="after a step up, nothing changes for so long")

    @model_validator(mode="after")
    def _rungs_in_order(self) -> "LadderKnobs":
        if self.holding_wait_s <= self.fast_wait_s:
            raise ValueError(
                f"holding_wait_s: {self.holding_wait_s:g} must be more than fast_wait_s: {self.fast_wait_s:g}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Rules:
    """The knobs that decide: the best ``level``, the ``ladder`` below it, and whether deadlines are looked at."""

    level: Level = Level.FULL
    ladder: LadderKnobs | None = None
    admission: bool = False


@dataclass(frozen=True, slots=True)
class Rung:
    """Where the ladder stands.

    ``rose`` is when it last stepped up; ``long_since`` and ``calm_since`` are since when the wait has been too long for
    ``fast``, and short enough for a step up; None: it is not.
    """

    level: Level = Level.FULL
    rose: float = float("-inf")
    long_since: float | None = None
    calm_since: float | None = None


def step(rung: Rung, now: float, wait_s: float, knobs: LadderKnobs) -> Rung:
    """The ladder after having seen this wait at this time (seconds on one clock that only goes forward)."""
    seen = Rung(
        rung.level,
        rung.rose,
        _since(rung.long_since, now, wait_s > knobs.holding_wait_s),
        _since(rung.calm_since, now, wait_s < knobs.calm_share * _entry_s(rung.level, knobs)),
    )
    lowest = _demanded(seen, now, wait_s, knobs)
    if RUNGS.index(lowest) > RUNGS.index(seen.level):
        settled = now - seen.rose >= knobs.dwell_s
        return Rung(lowest, seen.rose, seen.long_since) if settled else seen
    if _may_rise(seen, now, knobs):
        return Rung(RUNGS[RUNGS.index(seen.level) - 1], now, seen.long_since)
    return seen


def worse(one: Level, other: Level) -> Level:
    return max(one, other, key=RUNGS.index)


def _demanded(rung: Rung, now: float, wait_s: float, knobs: LadderKnobs) -> Level:
    """The best level at which this wait could be borne."""
    if rung.long_since is not None and now - rung.long_since >= knobs.holding_after_s:
        return Level.HOLDING
    return Level.FAST if wait_s > knobs.fast_wait_s else Level.FULL


def _may_rise(rung: Rung, now: float, knobs: LadderKnobs) -> bool:
    calm = rung.calm_since is not None and now - rung.calm_since >= knobs.calm_s
    return calm and rung.level is not Level.FULL and now - rung.rose >= knobs.dwell_s


def _entry_s(level: Level, knobs: LadderKnobs) -> float:
    """The wait at which the level begins."""
    return {Level.FULL: 0.0, Level.FAST: knobs.fast_wait_s, Level.HOLDING: knobs.holding_wait_s}[level]


def _since(began: float | None, now: float, holds: bool) -> float | None:
    if not holds:
        return None
    return now if began is None else began
