"""What is read off a measurement, medians of several, and the better of two types. Pure functions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.peers.load import Record, Reply

Figure = float | dict[str, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one service at one count of clients. ``stages_ms`` are the medians of what ours says of its own
    times; ``client_cpu_share`` and ``others_cpu_share`` how much of one core the load client and the rest of the
    machine took."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    tokens_per_s: float
    right_share: float
    errors: float
    cpu_ms_per_request: dict[str, float]
    stages_ms: dict[str, float]
    client_cpu_share: float
    others_cpu_share: float


NAMES = tuple(Figures.__dataclass_fields__)


def percentile(values: Sequence[float], share: float) -> float:
    """Between the two values that stand beside that share of all; not a number of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def figures(record: Record, tokens_of: Callable[[str], int]) -> Figures:
    """Rates count answers only; errors are counted beside them."""
    answered = [reply for reply in record.replies if not reply.fault]
    times = [reply.ms for reply in answered]
    seconds, count = record.seconds or math.nan, len(answered)
    return Figures(
        requests_per_s=count / seconds,
        p50_ms=percentile(times, 0.5),
        p99_ms=percentile(times, 0.99),
        tokens_per_s=sum(tokens_of(reply.answer) for reply in answered) / seconds,
        right_share=sum(reply.answer == reply.expected for reply in answered) / count if count else math.nan,
        errors=len(record.replies) - count,
        cpu_ms_per_request={role: cpu_s * 1e3 / count for role, cpu_s in record.cpu_s.items()} if count else {},
        stages_ms=_stages(answered),
        client_cpu_share=record.client_cpu_s / seconds,
        others_cpu_share=record.others_cpu_s / seconds,
    )


def _stages(replies: Sequence[Reply]) -> dict[str, float]:
    names = {name for reply in replies for name in reply.stages_ms}
    return {name: median(r.stages_ms[name] for r in replies if name in r.stages_ms) for name in sorted(names)}


def middle(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure over the rounds; of a role or stage that a round lacks, as of none."""

    def of(name: str) -> Figure:
        values = [getattr(one, name) for one in rounds]
        return merged(values) if isinstance(values[0], dict) else median(values)

    return Figures(**{name: of(name) for name in NAMES})  # type: ignore[arg-type]


def merged(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for one in rounds for name in one})
    return {name: median(one.get(name, 0.0) for one in rounds) for name in names}


def faster(by_dtype: Mapping[str, Figures]) -> str:
    """The type with the most requests a second."""
    return max(by_dtype, key=lambda dtype: by_dtype[dtype].requests_per_s)
