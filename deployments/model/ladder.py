"""The load ladder: at which level a replica answers, by how long requests wait there. A pure function of time.

Down at once, over several rungs if need be; up one rung at a time, after the wait has been short for a while. Between
``full`` and ``fast`` there is at most one change in ``dwell_s``: a load between what both can bear does not flap.
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
    holding_wait_s: float = Field(3.0, gt=0, description="who would wait longer is not let in, whatever the level")
    calm_share: float = Field(0.5, gt=0, lt=1, description="of a rung's wait: below it the way up begins")
    calm_s: float = Field(5.0, ge=0, description="how long it must stay below it before a step up")
    dwell_s: float = Field(
        10.0, ge=0, description="so long after a change there is no step up, nor one from full to fast"
    )

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
    """Where the ladder stands, since when, and since when the wait has been short enough for a step up (None: it is
    not)."""

    level: Level = Level.FULL
    changed: float = float("-inf")
    calm_since: float | None = None


def step(rung: Rung, now: float, wait_s: float, knobs: LadderKnobs) -> Rung:
    """The ladder after having seen this wait at this time (seconds on one clock that only goes forward)."""
    calm_since = _since(rung.calm_since, now, wait_s < knobs.calm_share * _entry_s(rung.level, knobs))
    seen = Rung(rung.level, rung.changed, calm_since)
    has_settled = now - seen.changed >= knobs.dwell_s
    lowest = _borne(wait_s, knobs)
    if _is_below(lowest, seen.level):
        return Rung(lowest, now) if has_settled or lowest is Level.HOLDING else seen
    is_calm = calm_since is not None and now - calm_since >= knobs.calm_s
    if is_calm and has_settled and seen.level is not Level.FULL:
        return Rung(RUNGS[RUNGS.index(seen.level) - 1], now)
    return seen


def worse(one: Level, other: Level) -> Level:
    return max(one, other, key=RUNGS.index)


def _borne(wait_s: float, knobs: LadderKnobs) -> Level:
    """The best level at which this wait could be borne."""
    if wait_s > knobs.holding_wait_s:
        return Level.HOLDING
    return Level.FAST if wait_s > knobs.fast_wait_s else Level.FULL


def _is_below(one: Level, other: Level) -> bool:
    return RUNGS.index(one) > RUNGS.index(other)


def _entry_s(level: Level, knobs: LadderKnobs) -> float:
    """The wait at which the level begins."""
    return {Level.FULL: 0.0, Level.FAST: knobs.fast_wait_s, Level.HOLDING: knobs.holding_wait_s}[level]


def _since(began: float | None, now: float, holds: bool) -> float | None:
    if not holds:
        return None
    return now if began is None else began
