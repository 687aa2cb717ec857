"""How fast an engine answers, from what it has answered: what a newcomer would wait, and what his answer would take."""

from dataclasses import dataclass

REMEMBERED = 64
"""Answers that an average is made of, about: short ones and long ones come in runs."""
FEWEST = 8
"""So many gaps between answers of a full engine are an average; until then, what single answers took is."""
SPREADS = 2.0
"""An answer is taken to be so many mean deviations longer than the average: most are shorter."""


@dataclass(frozen=True, slots=True)
class Pace:
    """``gap_s`` is the time from answer to answer of a full engine, 0 before the first.

    An answer takes ``answer_s`` once begun, give or take ``spread_s``. ``answers`` and ``gaps`` count what these are
    made of, ``ended`` is when the last answer came, if the engine was full then.
    """

    gap_s: float = 0.0
    answer_s: float = 0.0
    spread_s: float = 0.0
    answers: int = 0
    gaps: int = 0
    ended: float | None = None

    def after(self, now: float, took_s: float, running: int, is_full: bool) -> "Pace":
        """After an answer that took so long from its begin, with so many left running; ``is_full``: and as many here as
        there is room for, so that the time until the next answer is an engine's at work."""
        answers, gaps = self.answers + 1, self.gaps + (self.ended is not None)
        gap_s = took_s / (running + 1)  # as many at a time as now would answer so fast
        if self.ended is not None and gaps > FEWEST:
            gap_s = _mixed(self.gap_s, now - self.ended, gaps)
        elif gaps > FEWEST:
            gap_s = self.gap_s
        answer_s = _mixed(self.answer_s, took_s, answers)
        spread_s = _mixed(self.spread_s, abs(took_s - answer_s), answers)
        return Pace(gap_s, answer_s, spread_s, answers, gaps, now if is_full else None)

    @property
    def long_answer_s(self) -> float:
        """What most answers take no longer than."""
        return self.answer_s + SPREADS * self.spread_s

    @property
    def answers_per_s(self) -> float:
        """Of a full engine; 0 while it has not been one for long."""
        return 1 / self.gap_s if self.gaps > FEWEST and self.gap_s else 0.0

    def wait_s(self, ahead: int, room: int) -> float:
        """Before a newcomer's answer is begun, with so many ahead of him and so many that could begin at once."""
        return max(0, ahead + 1 - room) * self.gap_s


def _mixed(average: float, value: float, count: int) -> float:
    """The average with the value, its latest of so many."""
    return average + (value - average) / min(count, REMEMBERED)
