"""What callers write, judged: whether it can be read at all, and how it is shown back to them.

Stands on the ground, beside ``contract``: the ingress asks it before a request is worked on, the model afterwards.
"""

import unicodedata

from deployments.errors import RequestError

MAX_MESSAGE_CHARS = 1_000
MAX_QUOTED_CHARS = 80
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_LINES = "\t\n\v\f\r\x85"
"""Controls that texts have for a reason: tabs, and line and page breaks of every kind."""
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols by category that no font shows: Hangul fillers and the empty Braille pattern."""
_UNSEEN = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me")
"""Categories that show nothing by themselves: controls, BiDi and zero-width marks, spaces, variation selectors."""


def is_visible(text: str) -> bool:
    """Whether anybody would see anything of it."""
    return any(unicodedata.category(c) not in _UNSEEN and c not in _FILLERS for c in text)


def check_readable(text: str, name: str) -> None:
    """Raises RequestError for half a surrogate pair and for control characters: the sender's program encoded wrongly.

    ``name`` is what the caller calls the text.
    """
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            raise RequestError(
                f"{name} has half a surrogate pair (U+{ord(character):04X}), which is no character: send valid Unicode"
            )
        if category == "Cc" and character not in _LINES:
            raise RequestError(f"{name} has the control character U+{ord(character):04X}: take it out")


def quoted(text: str) -> str:
    """The caller's own words for a message about them: in one line, printable, and cut."""
    text = text if len(text) <= MAX_QUOTED_CHARS else text[: MAX_QUOTED_CHARS - 1] + "…"
    return f"`{printable(text)}`"


def printable(text: str) -> str:
    """The text, cut to what a message may have, with ``�`` for what cannot be encoded or would not be seen."""
    text = text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else REPLACEMENT for c in text)
