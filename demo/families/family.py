"""What a family of pictures is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from demo.fields import transcription
from demo.pictures import Picture, Question, Size


class Draw(Protocol):
    def __call__(self, rng: Random, size: Size, faces: Sequence[str] = ..., fewest: bool = False) -> Picture:
        """One picture of that size in one of the faces; ``fewest`` asks for as little on it as there can be."""


@dataclass(frozen=True, slots=True)
class Family:
    """How pictures of a family are drawn and asked about.

    ``ask`` asks about one thing, with the given probability about one that is not in the picture; ``showcase`` lists
    what a newcomer would ask first; ``texts`` hold every character that the family's pictures, questions and answers
    are written with, beyond printable ASCII.
    """

    name: str
    title: str
    draw: Draw
    ask: Callable[[Picture, Random, float], Question]
    showcase: Callable[[Picture], list[Question]]
    texts: tuple[str, ...]

    def questions(self, picture: Picture, rng: Random, count: int, absent_share: float) -> list[Question]:
        """``count`` questions about single things and one for the whole text."""
        asked = [self.ask(picture, rng, absent_share) for _ in range(count)]
        return [*asked, transcription(picture, rng)]


def difficulty(step: int) -> str:
    """0, 1 and 2 (or more) in words."""
    return ("easy", "medium", "hard")[min(step, 2)]
