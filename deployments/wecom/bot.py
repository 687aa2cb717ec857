"""An AI bot by webhook: JSON callbacks in, a stream that WeCom polls, and one later message by response_url."""

import hashlib
import json

from deployments.store.rows import Message
from deployments.wecom import response_url
from deployments.wecom.bot_messages import read_bot, stream_id_of
from deployments.wecom.callback import opened_echo, opened_message, refuse_stale, signed
from deployments.wecom.crypto import Crypto
from deployments.wecom.inbound import Event, Inbound, PictureRef
from deployments.wecom.json_envelope import ciphertext_of_json, read_json, reply_json
from deployments.wecom.keys import aes_key_of
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
    Way,
)
from deployments.wecom.settings import BotSettings

MOST_BYTES = 20480
STREAM_LASTS_S = 330.0
"""WeCom stops asking six minutes after the message: half a minute before, the stream is brought to an end."""
THINKING = "<think></think>"
"""WeCom's own placeholder while there is no text yet."""


class BotPlatform:
    """``bot/{name}``."""

    def __init__(self, name: str, settings: BotSettings, parts: Parts) -> None:
        self.surface = f"bot/{name}"
        self._settings, self._parts = settings, parts
        self._key = aes_key_of(settings.encoding_aes_key.get_secret_value())
        self._crypto = Crypto(settings.token.get_secret_value(), self._key)

    def verify(self, request: RawRequest) -> Challenge | Opened:
        if request.method == "GET":
            return Challenge(opened_echo(self._crypto, request.query))
        who = signed(request.query)
        opened = Opened(opened_message(self._crypto, who, ciphertext_of_json(request.body)), who.nonce)
        refuse_stale(who, self._parts.clock(), self._settings.replay_window_s)
        return opened

    def parse(self, opened: Opened) -> Inbound | Event | Poll:
        body = read_json(opened.body)
        stream_id = stream_id_of(body)
        return Poll(stream_id) if stream_id else read_bot(body, self._settings.bot_name)

    def acknowledge(self, opened: Opened, shown: Snapshot | None, event: Event | None) -> Ack:
        """The stream as it stands; a greeting for who enters; else nothing. The nonce is the callback's."""
        if shown is not None:
            stream = {"id": shown.stream_id, "finish": shown.finished, "content": shown.text}
            return self._sealed({"msgtype": "stream", "stream": stream}, opened.nonce)
        if event is not None and event.greet:
            return self._sealed({"msgtype": "text", "text": {"content": self._parts.texts.greeting}}, opened.nonce)
        return Ack()

    def snapshot_at_first(self, message_key: str) -> tuple[str, str] | None:
        """The id hangs on the message alone, so that a repeated callback opens the same stream."""
        digest = hashlib.sha256(f"{self.surface}|{message_key}".encode("utf-8", "replace"))
        return digest.hexdigest()[:32], THINKING

    async def fetch(self, picture: PictureRef) -> bytes:
        return await self._parts.pictures.by_url(picture.url, self._key)

    def ways(self, message: Message, inbound: Inbound) -> tuple[Way, ...]:
        lasts = message.received_at + STREAM_LASTS_S
        stream = Way("stream", MOST_BYTES, lasts, most_parts=1, dialect="tables", polled=True, repeatable=True)
        robot = self._settings.fallback_robot
        last = (self._parts.robots.way(robot),) if robot else ()
        return (stream, *response_url.way_of(message, inbound, self._parts.qyapi), *last)

    async def send(self, way: Way, inbound: Inbound, part: Outgoing) -> Outcome:
        if way.name == "response_url":
            return await response_url.send(self._parts.calls, inbound, part)
        return await self._parts.robots.send(way, part)

    async def serve(self, take: Take) -> None:
        return

    def is_here(self) -> bool:
        return True

    def health(self) -> Health:
        return Health()

    def _sealed(self, reply: dict[str, object], nonce: str) -> Ack:
        timestamp = str(int(self._parts.clock()))
        sealed = self._crypto.seal(json.dumps(reply, ensure_ascii=False).encode("utf-8", "replace"), timestamp, nonce)
        return Ack(reply_json(sealed).encode(), "application/json")
