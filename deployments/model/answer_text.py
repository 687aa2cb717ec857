"""Turn generated text into an answer, whole or as it comes: without reasoning, wrappers, leftovers of the template."""

import re
from enum import Enum

THINK, END_OF_THOUGHT = "<think>", "</think>"
_FIXED = (
    THINK, END_OF_THOUGHT, "<answer>", "</answer>", "/nothink",
    "[gMASK]", "[sMASK]", "[MASK]", "<sop>", "<eop>", "<unk>",
)  # fmt: skip
_UNCLOSED = r"<\|[a-z_]{1,32}(?=[^a-z_|])|<\|[a-z_]{1,32}\|(?=[^>])"
_MARKER = re.compile("|".join([*map(re.escape, _FIXED), r"<\|[a-z_]{1,32}\|>", _UNCLOSED]))
"""What is no part of an answer. None holds another one, or begins as another one ends."""
_CLOSING = re.compile(r"</([a-z_]{1,32})>")
"""At an answer's end it is no part of it either, unless something opened it."""
_SIGNS = "<[/"
"""What markers begin with."""
_BEGUN = re.compile(r"<\|?|<\|[a-z_]{1,32}\|?|</[a-z_]{0,32}")
_CUT = re.compile(r"<\|.*|</[a-z_]+")
"""Beginnings of markers that are nothing else, where a text ends with them."""
FEWEST = 4
"""Characters by which the beginning of another marker is known for one."""
LONGEST = 36
"""Characters of the longest marker."""


class Begins(Enum):
    """How a generated text begins, which the prompt before it says.

    ``OPEN``: amid reasoning, where the template has opened the block. ``EITHER``: thinking is on, and the model may
    reason first, with ``<think>`` or without it. ``ANSWER``: thinking is off.
    """

    ANSWER = "answer"
    EITHER = "either"
    OPEN = "open"


def opens_reasoning(prompt: str) -> bool:
    """Whether the prompt ends with the beginning of a reasoning block."""
    return prompt.rstrip().endswith(THINK)


def clean(text: str, begins: Begins = Begins.ANSWER) -> str:
    """The answer in ``text``; empty if there is none (all reasoning, or nothing but control tokens)."""
    answer = AnswerText(begins)
    return answer.push(text) + answer.finish()


class AnswerText:
    """The answer in a text that comes in pieces; what was told is never taken back.

    Held back is what may still be the beginning of a marker, white space and closing tags until something follows them,
    and, in a text that begins with ``EITHER``, all of it until a marker says whether it was reasoning.
    """

    def __init__(self, begins: Begins = Begins.ANSWER) -> None:
        self._state = begins
        self._undecided = ""  # may be the beginning of a marker
        self._held: list[str] = []  # may be reasoning
        self._ending: list[str] = []  # white space and closing tags: may be the text's end
        self._told: list[str] = []

    def push(self, text: str) -> str:
        """What is certain now and was not before."""
        text, place = self._undecided + text, 0
        told: list[str] = []
        for marker in _MARKER.finditer(text):
            told.append(self._said(text[place : marker.start()]))
            told.append(self._marked(marker[0]))
            place = marker.end()
        end = _decided(text, place)
        self._undecided = text[end:]
        told.append(self._said(text[place:end]))
        return "".join(told)

    def finish(self) -> str:
        """The rest, now that nothing follows."""
        rest = self._said("" if _is_cut(self._undecided) else self._undecided) + self._released()
        self._undecided = ""
        return rest + self._closed()

    def _marked(self, marker: str) -> str:
        """What becomes of the text so far when a marker follows."""
        released = ""
        if marker == THINK:
            released, self._state = self._released(), Begins.OPEN
        elif marker == END_OF_THOUGHT:
            self._held, self._state = [], Begins.ANSWER
        return released

    def _released(self) -> str:
        """What may have been reasoning and was not."""
        if self._state is Begins.EITHER:
            self._state = Begins.ANSWER
        held, self._held = "".join(self._held), []
        return self._trimmed(held)

    def _said(self, text: str) -> str:
        if self._state is Begins.EITHER:
            self._held.append(text)
        return self._trimmed(text) if self._state is Begins.ANSWER else ""

    def _trimmed(self, text: str) -> str:
        """Without white space at the answer's beginning and, for now, without what may be its end."""
        text = text if self._told or any(self._ending) else text.lstrip()
        body = text[: _end_of_body(text)]
        if not body:
            self._ending.append(text)
            return ""
        told, self._ending = "".join(self._ending) + body, [text[len(body) :]]
        self._told.append(told)
        return told

    def _closed(self) -> str:
        """Of what was held for the end, as far as it closes something."""
        held, self._ending, told = "".join(self._ending), [], "".join(self._told)
        tags = [tag for tag in _CLOSING.finditer(held) if f"<{tag[1]}" in told]
        return held[: tags[-1].end()] if tags else ""


def _end_of_body(text: str) -> int:
    """Where white space and closing tags begin that the text ends with."""
    end = len(text.rstrip())
    while (tag := text.rfind("</", max(0, end - LONGEST), end)) >= 0 and _CLOSING.fullmatch(text, tag, end):
        end = len(text[:tag].rstrip())
    return end


def _is_cut(begun: str) -> bool:
    """Whether a text's end is the beginning of a marker, and not just a sign."""
    return bool(_CUT.fullmatch(begun)) or (len(begun) >= FEWEST and any(m.startswith(begun) for m in _FIXED))


def _decided(text: str, start: int) -> int:
    """From where on the text may be the beginning of a marker; no complete one stands after ``start``."""
    for place in range(max(start, len(text) - LONGEST + 1), len(text)):
        if text[place] in _SIGNS and _may_be_marker(text[place:]):
            return place
    return len(text)


def _may_be_marker(begun: str) -> bool:
    return bool(_BEGUN.fullmatch(begun)) or any(marker.startswith(begun) for marker in _FIXED)
