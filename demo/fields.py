"""Labelled values on a picture, and the questions about them: what orders, waybills and contracts have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from demo.pictures import Picture, Question

ASKS = ("{0}是多少？", "{0}是什么？", "请问{0}是多少？", "{0}？", "{0}", "查一下{0}")
ASK_ENGLISH = "What is the {0}?"
TRANSCRIBE = ("提取全部文字", "提取图中全部文字", "图中写了什么？")
ABSENT = "图中没有{0}"
TEXTS = (*ASKS, *TRANSCRIBE, ABSENT, "：\n")


@dataclass(frozen=True, slots=True)
class Field:
    """A thing that a picture can show. ``labels[0]`` is its plain name, used in refusals."""

    key: str
    labels: tuple[str, ...]
    english: str
    value: Callable[[Random], str]


def question(fields: Sequence[Field], picture: Picture, rng: Random, absent_share: float) -> Question:
    """About one of ``fields``; with probability ``absent_share`` about one that the picture does not show."""
    absent = [item for item in fields if item.key not in picture.values]
    shown = [item for item in fields if item.key in picture.values]
    if absent and (not shown or rng.random() < absent_share):
        item = rng.choice(absent)
        return Question(_wording(item, rng), ABSENT.format(item.labels[0]), "absent")
    item = rng.choice(shown)
    return Question(_wording(item, rng), picture.values[item.key], item.key)


def plainly(item: Field, picture: Picture) -> Question:
    """The question that first comes to mind about a field that the picture shows."""
    value = picture.values[item.key]
    ask = "{0}是多少？" if sum(map(str.isdigit, value)) * 2 > len(value) else "{0}是什么？"
    return Question(ask.format(item.labels[0]), value, item.key)


def transcription(picture: Picture, rng: Random) -> Question:
    return Question(rng.choice(TRANSCRIBE), "\n".join(picture.lines), "transcription")


def _wording(item: Field, rng: Random) -> str:
    if rng.random() < 0.1:
        return ASK_ENGLISH.format(item.english)
    return rng.choice(ASKS).format(rng.choice(item.labels))
