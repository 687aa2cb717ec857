"""Questions as requests that can be sent at once: pictures that nobody has seen, encoded before the run.

A picture of the demo families is drawn once and marked in a corner for every request: another picture for every cache,
at a tenth of what drawing one takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.marking import Marker, form
from benchmarks.peers.dialects import MAX_NEW_TOKENS
from benchmarks.peers.questions import Asked


@dataclass(frozen=True, slots=True)
class Shot:
    """A request ready to be sent: its body, and what a right answer is."""

    body: bytes
    expected: str
    kind: str
    user: str = ""


def shots(asked: Sequence[Asked], count: int, first: int, fields: dict[str, str], users: Sequence[str]) -> list[Shot]:
    """``count`` requests with the questions in turn; ``first`` is the number of the first one's mark.

    Those of one user (empty: nobody's) are not beside each other.
    """
    marker, made = Marker(), list[Shot]()
    for number in range(count):
        one, user = asked[number % len(asked)], users[number % len(users)] if users else ""
        picture = marker.marked(one.file, first + number)
        who = {"user": user} if user else {}
        body = form(picture, Path(one.file).name, {"question": one.text, **fields, **who})
        made.append(Shot(body, one.expected, one.kind, user))
    return made


def standard_fields(timeout_s: float | None) -> dict[str, str]:
    """What every request asks for besides its question."""
    fields = {"max_new_tokens": str(MAX_NEW_TOKENS)}
    return fields if timeout_s is None else fields | {"timeout_s": f"{timeout_s:g}"}
