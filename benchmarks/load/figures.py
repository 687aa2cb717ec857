"""What is read off a load run. Pure functions."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.load.generator import Sent, Taken
from benchmarks.peers.figures import percentile

ANSWERS = ("full", "fast")
HOLDING = "holding"
BEHIND_MS, CPU_SHARE = 50.0, 0.5
"""From here on the generator was itself what was measured: how late its slowest hundredth was, its share of a core."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run at one rate. Shares are of all requests; ``useful``: an answer or a holding reply within the deadline.

    ``goodput_per_s`` counts answers within the deadline alone; ``admitted`` times are those of answers, late or not.
    ``levels`` are shares, what failed among them. ``behind_ms`` is how late the generator's slowest hundredth was sent,
    ``others_cores`` how many cores something else on the machine took meanwhile.
    """

    offered_per_s: float
    goodput_per_s: float
    full_share: float
    useful_share: float
    right_share: float
    admitted_p50_ms: float
    admitted_p99_ms: float
    holding_p50_ms: float
    holding_p99_ms: float
    errors: int
    levels: dict[str, float]
    behind_ms: float
    cpu_share: float
    others_cores: float = 0.0

    @property
    def is_generators_own(self) -> bool:
        return self.behind_ms > BEHIND_MS or self.cpu_share > CPU_SHARE


NAMES = tuple(Figures.__dataclass_fields__)


def figures(taken: Taken, seconds: float, deadline_s: float, others_cores: float = 0.0) -> Figures:
    """Of requests that were sent within ``seconds``."""
    sent = taken.sent
    answers = [one for one in sent if one.level in ANSWERS]
    in_time = [one for one in answers if one.ms <= deadline_s * 1e3]
    held = [one for one in sent if one.level == HOLDING]
    useful = len(in_time) + sum(one.ms <= deadline_s * 1e3 for one in held)
    count = len(sent) or math.nan
    counted = Counter(one.level or "failed" for one in sent)
    return Figures(
        offered_per_s=len(sent) / seconds,
        goodput_per_s=len(in_time) / seconds,
        full_share=sum(one.level == "full" for one in in_time) / count,
        useful_share=useful / count,
        right_share=sum(one.right for one in answers) / len(answers) if answers else math.nan,
        admitted_p50_ms=percentile([one.ms for one in answers], 0.5),
        admitted_p99_ms=percentile([one.ms for one in answers], 0.99),
        holding_p50_ms=percentile([one.ms for one in held], 0.5),
        holding_p99_ms=percentile([one.ms for one in held], 0.99),
        errors=sum(bool(one.fault) for one in sent),
        levels={level: number / count for level, number in sorted(counted.items())},
        behind_ms=percentile([one.behind_ms for one in sent], 0.99),
        cpu_share=taken.cpu_s / taken.seconds if taken.seconds else math.nan,
        others_cores=others_cores,
    )


def middle(runs: Sequence[Figures]) -> Figures:
    """The median of each figure over the seeds; errors are added up."""

    def of(name: str) -> object:
        values = [getattr(one, name) for one in runs]
        if name == "errors":
            return sum(values)
        if name == "levels":
            return {
                level: median(v.get(level, 0.0) for v in values) for level in sorted({k for v in values for k in v})
            }
        known = [value for value in values if not math.isnan(value)]
        return median(known) if known else math.nan

    return Figures(**{name: of(name) for name in NAMES})  # type: ignore[arg-type]


def answers_per_s(taken: Taken, ramp_s: float, seconds: float) -> float:
    """Of a closed loop: answers that came once the ramp was over, none that came after ``seconds``."""
    came = [one.at + one.ms / 1e3 for one in taken.sent if one.level in ANSWERS]
    return sum(ramp_s <= at < seconds for at in came) / (seconds - ramp_s)


def highest(holds: Callable[[float], bool], first: float, steps: int, most: float) -> float:
    """The highest rate at which ``holds``, by doubling and then by halving the ratio; 0 if it never does."""
    low, high, rate = 0.0, 0.0, first
    while not high and rate <= most:
        if holds(rate):
            low, rate = rate, rate * 2
        else:
            high = rate
    for _ in range(steps if high else 0):
        rate = math.sqrt(low * high) if low else high / 2
        low, high = (rate, high) if holds(rate) else (low, rate)
    return low


def jain(shares: Iterable[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1 / n where one has all. Not a number of nothing."""
    values = list(shares)
    squares = len(values) * sum(value * value for value in values)
    return sum(values) ** 2 / squares if squares else math.nan


def by_user(sent: Iterable[Sent], deadline_s: float) -> dict[str, tuple[int, int]]:
    """Requests and answers within the deadline of each user."""
    found: dict[str, tuple[int, int]] = {}
    for one in sent:
        asked, answered = found.get(one.user, (0, 0))
        in_time = one.level in ANSWERS and one.ms <= deadline_s * 1e3
        found[one.user] = asked + 1, answered + in_time
    return found


@dataclass(frozen=True, slots=True)
class Second:
    """What was sent in one second of a run, and what became of it; nan where there was nothing."""

    at: float
    offered: int
    levels: dict[str, int]
    p99_ms: float


def timeline(sent: Sequence[Sent], seconds: float) -> list[Second]:
    found = []
    for second in range(math.ceil(seconds)):
        here = [one for one in sent if second <= one.at < second + 1]
        times = [one.ms for one in here if one.level in ANSWERS]
        levels = Counter(one.level or "failed" for one in here)
        found.append(Second(second, len(here), dict(levels), percentile(times, 0.99)))
    return found
