"""From token ids as they come to text as it can be shown: whole characters, without what is no part of the answer."""

import logging
from collections.abc import Callable, Sequence

from deployments.model.answer_text import AnswerText, Begins

logger = logging.getLogger("ray.serve")

UNFINISHED = "\ufffd"
"""What a tokenizer writes for bytes that are not yet a whole character."""
FEW = 8
"""Tokens since the last whole character that are looked at again with each new one; many more than characters need."""

Decode = Callable[[Sequence[int]], str]


class TokenText:
    """The text of token ids that come one after the other: in all what ``decode`` makes of them at once.

    Decoded are only the ids since the last whole character, after those of the text before it, which tokenizers need as
    a context (a space before the first word is left out). Each id is decoded a few times, however long the text gets.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._ids: list[int] = []  # the context, then what has come since
        self._context = 0
        self._told = 0  # characters of their text
        self._due = 0  # how many of them there are when they are decoded next

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that is certain now and was not before."""
        self._ids += token_ids
        if len(self._ids) < self._due:
            return ""
        text = self._decode(self._ids)
        whole = text.rstrip(UNFINISHED)
        new = whole[self._told :]
        self._told = max(self._told, len(whole))
        if new and whole == text:
            self._settle()
        elif (waiting := len(self._ids) - self._context) > FEW:
            self._due = len(self._ids) + waiting  # of bytes that make no character: half as often each time
        return new

    def _settle(self) -> None:
        """All so far is whole characters: what came last is the context of what comes."""
        self._ids = self._ids[self._context :]
        self._context, self._told, self._due = len(self._ids), len(self._decode(self._ids)), 0


class TextStream:
    """Collects token ids and tells what text they add to the answer, which is that of the whole, cleaned.

    A token may be a part of a Chinese character, and a character may be a part of something that ``clean`` takes away:
    what could still change is held back, and nothing else.
    """

    def __init__(self, decode: Decode, begins: Begins = Begins.ANSWER) -> None:
        self._text, self._answer = TokenText(decode), AnswerText(begins)
        self._shown: list[str] = []

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that is certain now and was not before."""
        return self._show(self._answer.push(self._text.push(token_ids)))

    def finish(self, answer: str) -> str:
        """What of the whole answer has not been shown yet."""
        shown = "".join(self._shown)
        if not answer.startswith(shown):
            logger.error("an answer was streamed otherwise than it was told in the end, from its beginning on")
            return ""
        return self._show(answer[len(shown) :])

    def _show(self, text: str) -> str:
        if text:
            self._shown.append(text)
        return text
