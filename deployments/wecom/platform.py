"""What the core asks of a chat platform. WeCom's surfaces are its first implementations, the relay is another.

An adapter turns the platform's requests into messages and answers into the platform's requests; it keeps no message,
decides on no order, and retries nothing: that is the core's (``receiving``, ``worker``, ``delivery``, ``streams``).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from deployments.store.rows import Message
from deployments.wecom.inbound import Event, Inbound, PictureRef

Dialect = Literal["plain", "markdown", "tables"]
"""What a way shows: bare words, markdown without tables, or all of it."""
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A callback as it arrived; nothing of it has been looked at."""

    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Challenge:
    """The platform only wants to see that the address is ours."""

    answer: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A callback whose sender has proved to be the platform. ``nonce`` goes back where the platform wants it."""

    body: bytes
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """The platform asks how far a stream has come."""

    stream_id: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a stream shows now, all of it; a finished one shows something."""

    stream_id: str
    text: str
    finished: bool


@dataclass(frozen=True, slots=True)
class Ack:
    """What a callback is answered with at once."""

    body: bytes = b""
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Way:
    """One way an answer can go. ``polled``: the platform fetches it; else it is sent.

    ``most_parts`` is how often it can be used for one message (0: any number), ``quota`` are (number, seconds) under
    ``quota_key``. Over a ``repeatable`` one, a send that a crash cut short is sent again. ``holds``: a holding text may
    go before the answer. ``twins_s``: for so long the platform drops a text equal to an earlier one.
    """

    name: str
    max_bytes: int
    expires_at: float = FOREVER
    repeatable: bool = False
    most_parts: int = 0
    quota_key: str = ""
    quota: tuple[tuple[int, float], ...] = ()
    dialect: Dialect = "plain"
    polled: bool = False
    holds: bool = False
    twins_s: float = 0.0


class Verdict(StrEnum):
    """What became of a send."""

    SENT = "sent"
    WAIT = "wait"  # not sent, for the way is shut at the moment: no attempt
    RETRY = "retry"  # not sent; the same again, later
    GONE = "gone"  # not sent, and never will be on this way
    IN_DOUBT = "in_doubt"  # sent or not: nobody knows


@dataclass(frozen=True, slots=True)
class Outcome:
    """``code`` is the platform's word for it, ``after_s`` when to try again; ``alert``: the operator must act.

    ``maybe_sent``: what is to be tried again may have arrived already.
    """

    verdict: Verdict
    code: str = ""
    after_s: float = 0.0
    alert: bool = False
    maybe_sent: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One part on its way. ``again``: an earlier attempt was cut short."""

    text: str
    finished: bool = True
    again: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a surface can work, and what is wrong if not."""

    ok: bool = True
    detail: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


Take = Callable[["Platform", Inbound], Awaitable[Message]]
"""Stores a message, once however often it comes."""


class Platform(Protocol):
    """One configured surface, such as ``app/desk``."""

    @property
    def surface(self) -> str: ...

    def verify(self, request: RawRequest) -> Challenge | Opened:
        """Who sent it, judged on raw bytes. Raises Unauthorized, RequestError."""
        ...

    def parse(self, opened: Opened) -> Inbound | Event | Poll:
        """Raises RequestError."""
        ...

    def acknowledge(self, opened: Opened, shown: Snapshot | None, event: Event | None) -> Ack:
        """What the callback is answered with, within the platform's deadline."""
        ...

    def snapshot_at_first(self, message_key: str) -> tuple[str, str] | None:
        """Id and text of the stream that a message opens; None where there are no polled streams."""
        ...

    async def fetch(self, picture: PictureRef) -> bytes:
        """The picture, decrypted. Raises TuwenError."""
        ...

    def ways(self, message: Message, inbound: Inbound) -> tuple[Way, ...]:
        """The ways that its answer can go, the best one first."""
        ...

    async def send(self, way: Way, inbound: Inbound, part: Outgoing) -> Outcome:
        """Hands one part to the platform, once."""
        ...

    async def serve(self, take: Take) -> None:
        """Runs what the surface needs all the time, a connection of its own; ends when cancelled.

        What comes over the connection is given to ``take``, which stores it.
        """
        ...

    def is_here(self) -> bool:
        """Whether this replica can answer the surface's messages: a connection has one owner."""
        ...

    def health(self) -> Health: ...
