"""A message as every platform's adapter states it, and as the database keeps it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

ChatKind = Literal["single", "group"]


@dataclass(frozen=True, slots=True)
class PictureRef:
    """Where a picture is: an address, a media id, or both; ``key`` is the one it alone is encrypted with.

    ``maybe``: a file that may be a picture, which only its bytes can tell.
    """

    url: str = field(default="", repr=False)
    media_id: str = ""
    key: str = field(default="", repr=False)
    maybe: bool = False


@dataclass(frozen=True, slots=True)
class Inbound:
    """What somebody sent. ``key`` tells messages of a surface apart; ``handle`` is what a reply needs of it.

    ``quoted`` is the text that the message refers to, ``unsupported`` names what nobody here can look at, and
    ``canned`` is a fixed text to say instead of an answer.
    """

    key: str
    sender: str
    chat: str
    chat_kind: ChatKind = "single"
    words: str = ""
    quoted: str = ""
    pictures: tuple[PictureRef, ...] = ()
    unsupported: str = ""
    canned: str = ""
    handle: dict[str, str] = field(default_factory=dict, repr=False)

    def as_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> "Inbound":
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {"pictures": tuple(PictureRef(**one) for one in values["pictures"])})

    @property
    def question(self) -> str:
        """What is asked, after what it refers to."""
        return f"{self.quoted}\n{self.words}" if self.quoted and self.words else self.words or self.quoted

    def without_handle(self) -> "Inbound":
        return replace(self, handle={})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened and needs no answer, or only one that goes back at once (``greet``)."""

    name: str
    sender: str = ""
    greet: bool = False


def dedup_key(*parts: str) -> str:
    """One key of bounded length; different parts make different keys."""
    joined = "\x1f".join(parts)
    return joined.replace("\x1f", "|") if len(joined) <= 120 and "|" not in joined else _digest(joined)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
