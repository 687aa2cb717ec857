"""When requests are sent, in seconds from the start: drawn before the run, so that nothing that happens in it moves
them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """So many requests a second on average, for so many seconds."""

    per_s: float
    seconds: float


def poisson(phases: Sequence[Phase], seed: int) -> list[float]:
    """A Poisson process whose rate changes from phase to phase."""
    rng, times, began = random.Random(seed), list[float](), 0.0
    for phase in phases:
        at = began
        began += phase.seconds
        while phase.per_s > 0 and (at := at + rng.expovariate(phase.per_s)) < began:
            times.append(at)
    return times


def volleys(every_s: float, count: int, seconds: float) -> list[float]:
    """``count`` requests at one moment, again and again."""
    return [number * every_s for number in range(int(seconds / every_s)) for _ in range(count)]


def steady(per_s: float, seconds: float) -> list[Phase]:
    return [Phase(per_s, seconds)]


def burst(base_per_s: float, peak_per_s: float, peak_s: float, before_s: float, after_s: float) -> list[Phase]:
    """The base rate, the peak, and the base rate again."""
    return [Phase(base_per_s, before_s), Phase(peak_per_s, peak_s), Phase(base_per_s, after_s)]
