"""An AI bot over the long connection: messages come as frames, answers go as streams that we push, or as pushes."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable
from dataclasses import replace

from deployments.errors import NotFound, RequestError
from deployments.store.rows import Message
from deployments.wecom import response_url
from deployments.wecom.bot_messages import read_bot
from deployments.wecom.errcodes import outcome_of, told
from deployments.wecom.inbound import Event, Inbound, PictureRef
from deployments.wecom.json_envelope import read_json
from deployments.wecom.media_keys import media_key
from deployments.wecom.parts import Parts
from deployments.wecom.platform import (
    Ack,
    Challenge,
    Health,
    Opened,
    Outcome,
    Outgoing,
    Poll,
    RawRequest,
    Snapshot,
    Take,
    Verdict,
    Way,
)
from deployments.wecom.settings import SocketSettings
from deployments.wecom.sockets.connection import NotSent, Unconfirmed, new_id
from deployments.wecom.sockets.frames import PUSH, RESPOND, WELCOME, Frame, push_body, stream_body
from deployments.wecom.sockets.keeper import Keeper
from deployments.wecom.sockets.link import Link
from deployments.wecom.sockets.open_streams import OpenStreams, Stream
from deployments.wecom.sockets.protocol import NOT_SUBSCRIBED, Came

logger = logging.getLogger("ray.serve")

MOST_BYTES = 20480
QUOTA = ((30, 60.0), (1000, 3600.0))
"""Of a conversation, answers and pushes together."""
REPLY_LASTS_S = 86400.0 - 600.0
SHUT_S = 1.0
"""How soon a way is looked at again whose connection is away."""
UNCONFIRMED = "not confirmed"
MOST_UNCONFIRMED = 3
"""Answers without an acknowledgement, sent again each time, after which the answer is in doubt."""
STORE_AGAIN_S = 1.0
WATCH_S = 5.0


class SocketPlatform:
    """``socket/{name}``."""

    def __init__(self, name: str, settings: SocketSettings, parts: Parts) -> None:
        self.surface = f"socket/{name}"
        self._settings, self._parts = settings, parts
        lease = f"socket/{settings.bot_id}"
        self._keeper = Keeper(parts.leases, lease, parts.owner, parts.limits.lease_s, parts.clock)
        self.link = Link(
            self.surface, settings, parts.sockets, parts.proxy, self._keeper, parts.leases, lease, parts.owner,
            parts.clock,
        )  # fmt: skip
        self._streams = OpenStreams()
        self._came: asyncio.Queue[Came] = asyncio.Queue()
        self._robot = settings.fallback_robot

    def verify(self, request: RawRequest) -> Challenge | Opened:
        raise NotFound("a bot with a long connection has no address")

    def parse(self, opened: Opened) -> Inbound | Event | Poll:
        """``opened.nonce`` is the frame's request id."""
        found = read_bot(read_json(opened.body), self._settings.bot_name)
        if isinstance(found, Event):
            return found
        return replace(found, handle=found.handle | {"req_id": opened.nonce})

    def acknowledge(self, opened: Opened, shown: Snapshot | None, event: Event | None) -> Ack:
        return Ack()

    def snapshot_at_first(self, message_key: str) -> tuple[str, str] | None:
        return None

    async def fetch(self, picture: PictureRef) -> bytes:
        """Decrypted with the key that the message brings with it."""
        return await self._parts.pictures.by_url(picture.url, media_key(picture.key) if picture.key else None)

    def ways(self, message: Message, inbound: Inbound) -> tuple[Way, ...]:
        """While the connection is away, what needs none comes first."""
        quota = f"{self.surface}/{inbound.chat}"
        until = self._streams.expires_at(inbound.key, message.received_at, REPLY_LASTS_S)
        stream = Way("stream", MOST_BYTES, until, repeatable=True, most_parts=1, quota_key=quota, quota=QUOTA,
                     dialect="tables", holds=True)  # fmt: skip
        push = Way("push", MOST_BYTES, repeatable=self._settings.resend_in_doubt, quota_key=quota, quota=QUOTA,
                   dialect="tables")  # fmt: skip
        once = response_url.way_of(message, inbound, self._parts.qyapi)
        last = (self._parts.robots.way(self._robot),) if self._robot else ()
        stays = self.link.connected or self._streams.is_doubtful(inbound.key)
        return (stream, push, *once, *last) if stays else (*once, stream, push, *last)

    async def send(self, way: Way, inbound: Inbound, part: Outgoing) -> Outcome:
        if way.name == "response_url":
            return await response_url.send(self._parts.calls, inbound, part)
        if way.name == "push":
            body = push_body(inbound.chat, inbound.chat_kind == "group", part.text)
            return await self._sent(self.link.ask(PUSH, new_id(), body), Verdict.IN_DOUBT)
        if way.name == "stream":
            stream = self._streams.of(inbound.key, inbound.handle.get("req_id", ""))
            stream.unconfirmed = max(stream.unconfirmed, int(part.again))
            return await self._streamed(stream, part.text, part.finished)
        return await self._parts.robots.send(way, part)

    async def serve(self, take: Take) -> None:
        """What has come is stored also when the lease is lost meanwhile."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeper.run(self._kept))
            group.create_task(self._taking(take))

    def is_here(self) -> bool:
        return self._keeper.holds

    def health(self) -> Health:
        return self.link.health()

    async def _kept(self) -> None:
        """While the bot is this replica's: its connection, and the ends of its streams."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.link.run(self._came.put))
            group.create_task(self._ending_streams())

    async def _taking(self, take: Take) -> None:
        """One after another, so that a chat's messages are stored in the order in which they came."""
        while True:
            came = await self._came.get()
            try:
                what = self.parse(Opened(json.dumps(came.frame.body).encode(), came.frame.req_id))
            except RequestError as fault:
                logger.warning("wecom %s: a frame is no message: %s", self.surface, fault)
                continue
            if isinstance(what, Inbound):
                self._streams.came(what.key, came.frame.req_id)
                await self._stored(take, what)
            elif isinstance(what, Event):
                await self._happened(what, came.frame)

    async def _stored(self, take: Take, inbound: Inbound) -> None:
        """Nobody sends a frame again: it is tried until the database takes it."""
        while True:
            try:
                await take(self, inbound)
                return
            except Exception:
                logger.exception("wecom %s: a message cannot be stored; trying again", self.surface)
                await asyncio.sleep(STORE_AGAIN_S)

    async def _happened(self, event: Event, frame: Frame) -> None:
        logger.info("wecom %s: event %s", self.surface, event.name[:64])
        if event.greet:
            body = {"msgtype": "text", "text": {"content": self._parts.texts.greeting}}
            outcome = await self._sent(self.link.ask(WELCOME, frame.req_id, body), Verdict.GONE)
            if outcome.verdict is not Verdict.SENT:
                logger.warning("wecom %s: the greeting: %s", self.surface, outcome.code)

    async def _ending_streams(self) -> None:
        while True:
            await asyncio.sleep(min(WATCH_S, self._parts.limits.poll_s))
            for stream in self._streams.overdue(self._parts.clock()):
                outcome = await self._streamed(stream, self._parts.texts.later, True)
                tried_again = outcome.verdict in (Verdict.WAIT, Verdict.RETRY)
                stream.ended |= not tried_again or self._streams.is_over(stream, self._parts.clock())

    async def _streamed(self, stream: Stream, text: str, finished: bool) -> Outcome:
        """A stream's frames replace one another: one whose acknowledgement is missing is sent again, a few times.

        A request id that is dead by then leaves in doubt what became of it.
        """
        async with stream.turn:
            if stream.ended:
                return Outcome(Verdict.GONE, "ended")
            body = stream_body(self._stream_id(stream.key), text, finished)
            outcome = await self._sent(self.link.ask(RESPOND, stream.req_id, body), Verdict.RETRY)
            if outcome.verdict is Verdict.SENT:
                stream.began_at = stream.began_at or self._parts.clock()
                stream.ended, stream.unconfirmed = finished, 0
            stream.unconfirmed += finished and outcome.code == UNCONFIRMED
            gone = outcome.verdict is Verdict.GONE and stream.unconfirmed > 0
            return Outcome(Verdict.IN_DOUBT, outcome.code) if gone or stream.unconfirmed > MOST_UNCONFIRMED else outcome

    def _stream_id(self, key: str) -> str:
        """It hangs on the message alone: whoever answers it goes on in the same stream."""
        return hashlib.sha256(f"{self.surface}|{key}".encode("utf-8", "replace")).hexdigest()[:32]

    async def _sent(self, asking: Awaitable[Frame], unconfirmed: Verdict) -> Outcome:
        try:
            frame = await asking
        except NotSent:
            return Outcome(Verdict.WAIT, "not connected", SHUT_S)
        except Unconfirmed as fault:
            logger.info("wecom %s: %s", self.surface, fault)
            return Outcome(unconfirmed, UNCONFIRMED, SHUT_S, maybe_sent=True)
        if frame.code == NOT_SUBSCRIBED:
            return Outcome(Verdict.RETRY, str(frame.code), SHUT_S)
        if frame.code:
            logger.warning("wecom %s: %s", self.surface, told(frame.code, frame.errmsg))
        return outcome_of({"errcode": frame.code})
