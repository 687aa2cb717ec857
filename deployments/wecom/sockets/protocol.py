"""The long connection as a state machine: texts in, what they mean out, and what is to be sent when. No socket here."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from deployments.errors import RequestError
from deployments.wecom.bot_messages import event_name
from deployments.wecom.errcodes import told
from deployments.wecom.sockets.frames import EVENT, MESSAGE, PING, SUBSCRIBE, Frame, read_frame, written

NOT_SUBSCRIBED = 846609
MOST_MISSED = 2
"""Heartbeats without an answer, after which the connection is dead, whatever TCP says."""
DISCONNECTED = "disconnected_event"


class State(StrEnum):
    SUBSCRIBING = "subscribing"
    SUBSCRIBED = "subscribed"
    OVER = "over"


class Why(StrEnum):
    """What ended a connection."""

    UNREACHABLE = "unreachable"  # it never opened
    REFUSED = "refused"  # WeCom does not take the bot's id and secret
    UNANSWERED = "unanswered"  # no acknowledgement of the subscription
    EVICTED = "evicted"  # somebody else has subscribed for the bot
    DEAD = "dead"  # heartbeats stay without an answer
    UNSUBSCRIBED = "unsubscribed"  # WeCom has forgotten the subscription
    CLOSED = "closed"  # from the other side, with whatever code


@dataclass(frozen=True, slots=True)
class Over:
    """The connection has ended, or must be: why, and the words for the log. ``code`` is WeCom's errcode, or 0."""

    why: Why
    detail: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class Subscribed:
    """From now on the connection is the bot's."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What WeCom says to a frame of ours."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Came:
    """A message, or an event, of users."""

    frame: Frame
    is_event: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that nobody here understands; the next may be another."""

    what: str


Meaning = Over | Subscribed | Acknowledged | Came | Ignored


class Protocol:
    """One connection. ``new_id`` makes request ids; times are whatever clock the caller has."""

    def __init__(self, bot_id: str, secret: str, heartbeat_s: float, new_id: Callable[[], str]) -> None:
        self._bot_id, self._secret = bot_id, secret
        self._heartbeat_s, self._new_id = heartbeat_s, new_id
        self._subscription = ""
        self._pings: list[str] = []
        self._ping_at = float("inf")
        self.state = State.SUBSCRIBING

    def opened(self) -> str:
        """The first frame to send, and the only one before its acknowledgement."""
        self._subscription = self._new_id()
        return written(SUBSCRIBE, self._subscription, {"bot_id": self._bot_id, "secret": self._secret})

    def received(self, text: str | bytes, now: float) -> Meaning:
        """What the frame means. Events may come before the subscription's acknowledgement."""
        try:
            frame = read_frame(text)
        except RequestError as fault:
            return Ignored(str(fault))
        meaning = self._acknowledged(frame, now) if frame.code is not None and not frame.command else _came(frame)
        if isinstance(meaning, Over):
            self.state = State.OVER
        return meaning

    def due(self, now: float) -> str | Over | None:
        """The heartbeat that is to be sent now; the end, when the last ones have had no answer."""
        if self.state is not State.SUBSCRIBED or now < self._ping_at:
            return None
        if len(self._pings) >= MOST_MISSED:
            self.state = State.OVER
            return Over(Why.DEAD, f"{MOST_MISSED} heartbeats without an answer")
        self._pings.append(self._new_id())
        self._ping_at = now + self._heartbeat_s
        return written(PING, self._pings[-1])

    def _acknowledged(self, frame: Frame, now: float) -> Meaning:
        code = frame.code or 0
        if frame.req_id == self._subscription:
            if code:
                return Over(Why.REFUSED, told(code, frame.errmsg), code)
            self.state, self._ping_at = State.SUBSCRIBED, now + self._heartbeat_s
            return Subscribed()
        if frame.req_id in self._pings:
            self._pings.clear()
            return Over(Why.UNSUBSCRIBED, told(code), code) if code == NOT_SUBSCRIBED else Acknowledged(frame)
        return Acknowledged(frame)


def _came(frame: Frame) -> Meaning:
    if frame.command == EVENT and event_name(frame.body) == DISCONNECTED:
        return Over(Why.EVICTED, "another client has subscribed for the bot")
    if frame.command in (EVENT, MESSAGE):
        return Came(frame, frame.command == EVENT)
    return Ignored(f"command {frame.command[:64]!r}")
