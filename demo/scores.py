"""From single outcomes to shares with intervals, tables and JSON."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Self

MAIN = "main"
SHUFFLED = "shuffled"
"""The control: the right question about the wrong picture."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answered question. ``error_rate`` is edits per expected character."""

    condition: str
    family: str
    kind: str
    difficulty: str
    damage: str
    question: str
    expected: str
    answer: str
    error_rate: float

    @property
    def exact(self) -> bool:
        return self.answer == self.expected


@dataclass(frozen=True, slots=True)
class Score:
    """How many of the asked were answered exactly, Wilson's 95 % interval of that share, and edits per character."""

    asked: int
    right: int
    exact_match: float
    low: float
    high: float
    character_error_rate: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Self:
        right = sum(outcome.exact for outcome in outcomes)
        low, high = interval(right, len(outcomes))
        errors = fmean(outcome.error_rate for outcome in outcomes)
        return cls(len(outcomes), right, *(round(x, 4) for x in (right / len(outcomes), low, high, errors)))


Scores = Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one evaluation: what was run and its scores, by family and by what else divides the outcomes."""

    run: Mapping[str, Any]
    families: Scores
    kinds: Scores
    difficulties: Scores
    damages: Scores
    conditions: Scores
    most_frequent_answer: Mapping[str, float]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], **run: Any) -> Self:
        main = [outcome for outcome in outcomes if outcome.condition == MAIN]
        return cls(
            run=run,
            families=_grouped(main, lambda o: o.family),
            kinds=_grouped(main, lambda o: f"{o.family}/{o.kind}"),
            difficulties=_grouped(main, lambda o: f"{o.family}/{o.difficulty}"),
            damages=_grouped((o for o in main if o.family == "waybill"), lambda o: f"{o.family}/{o.damage}"),
            conditions=_grouped((o for o in outcomes if o.condition != MAIN), lambda o: f"{o.condition}/{o.family}"),
            most_frequent_answer=most_frequent_answer(o for o in main if o.kind != "absent"),
        )

    def as_json(self) -> dict[str, Any]:
        exact = {name: score.exact_match for name, score in self.families.items()}
        return {"exact_match": exact, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        scores = {
            part: {name: Score(**score) for name, score in data[part].items()}
            for part in ("families", "kinds", "difficulties", "damages", "conditions")
        }
        return cls(run=data["run"], most_frequent_answer=data["most_frequent_answer"], **scores)


def _grouped(outcomes: Iterable[Outcome], name: Callable[[Outcome], str]) -> dict[str, Score]:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[name(outcome)].append(outcome)
    return {name: Score.of(members) for name, members in sorted(groups.items())}


def most_frequent_answer(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """What a guesser gets who always gives the most frequent answer to questions of a kind, by family: chance."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.family, outcome.kind].append(outcome.expected)
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for (family, _), answers in kinds.items():
        right[family] += Counter(answers).most_common(1)[0][1]
        asked[family] += len(answers)
    return {family: round(right[family] / asked[family], 4) for family in sorted(asked)}


def edits(one: str, other: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def interval(right: int, asked: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.96
    share, spread = right / asked, z * z / asked
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / asked + spread / (4 * asked)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def markdown(report: Report) -> str:
    """All scores of one evaluation as tables."""
    tables = [
        ("family", report.families),
        ("family / question", report.kinds),
        ("family / difficulty", report.difficulties),
        ("waybill / damage", report.damages),
        ("beside", report.conditions),
    ]
    parts = [_table(title, scores) for title, scores in tables if scores]
    if report.most_frequent_answer:
        guesses = ", ".join(f"{name} {share:.1%}" for name, share in report.most_frequent_answer.items())
        parts.append(f"Chance, always giving the most frequent answer of the question's kind: {guesses}.")
    parts.append("Run: " + ", ".join(f"{name} {value}" for name, value in report.run.items()))
    return "\n\n".join(parts)


def _table(title: str, scores: Scores) -> str:
    lines = [f"| {title} | asked | exactly right | 95 % interval | character error rate |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {score.asked} | {score.exact_match:.1%} | {score.low:.1%} to {score.high:.1%} "
        f"| {score.character_error_rate:.2%} |"
        for name, score in scores.items()
    ]
    return "\n".join(lines)
