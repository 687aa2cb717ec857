"""From token ids as they come to text as it can be shown: whole characters, without what is no part of the answer."""

from collections.abc import Callable, Sequence

from deployments.model.answer_text import clean

UNFINISHED = "\ufffd"
"""What a tokenizer writes for bytes that are not yet a whole character."""


class TextStream:
    """Collects token ids and tells what text they add to the answer.

    A token may be a part of a Chinese character, and a character may be a part of something that ``clean`` takes away:
    what could still change is held back.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._shown = ""

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that is certain now and was not before."""
        self._ids += token_ids
        text = self._decode(self._ids).rstrip(UNFINISHED)
        return self._show(clean(_before_marker(text)))

    def finish(self, answer: str) -> str:
        """What of the whole answer has not been shown yet."""
        return self._show(answer)

    def _show(self, text: str) -> str:
        if not text.startswith(self._shown):
            return ""
        new = text[len(self._shown) :]
        self._shown = text
        return new


def _before_marker(text: str) -> str:
    """The text up to where something begins that may turn out to be a marker of the template."""
    for sign in "<[/":
        place = text.rfind(sign)
        if place >= 0 and len(text) - place < MARKER_LENGTH:
            text = text[:place]
    return text


MARKER_LENGTH = 24
"""No marker is longer."""
