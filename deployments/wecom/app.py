"""A self-built app: XML callbacks in, answers by message/send.

Callbacks are acknowledged with nothing, and answered when there is an answer: a passive reply would have to come within
five seconds, and could be neither repeated nor followed by another.
"""

import logging
from typing import Any

from deployments.errors import FetchFailed
from deployments.store.rows import Message
from deployments.wecom.app_messages import MENU, read_app
from deployments.wecom.callback import opened_echo, opened_message, refuse_stale, signed
from deployments.wecom.calls import CallFailed
from deployments.wecom.crypto import Crypto
from deployments.wecom.errcodes import Kind, kind_of, outcome_of, told
from deployments.wecom.inbound import Event, Inbound, PictureRef
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
    Verdict,
    Way,
)
from deployments.wecom.settings import AppSettings
from deployments.wecom.tokens import TokenRefused
from deployments.wecom.xml_envelope import ciphertext_of_xml, read_xml

logger = logging.getLogger("ray.serve")

MOST_BYTES = 2048
QUOTA = ((30, 60.0), (1000, 3600.0))
"""Person-times of an app to one member; WeCom drops the excess without an error."""
DUPLICATES_S = 4 * 3600
"""The longest for which WeCom drops an equal text to the same user: a send that is repeated comes once."""


class AppPlatform:
    """``app/{name}``."""

    def __init__(self, name: str, settings: AppSettings, parts: Parts) -> None:
        self.surface = f"app/{name}"
        self._settings, self._parts = settings, parts
        key = aes_key_of(settings.encoding_aes_key.get_secret_value())
        self._crypto = Crypto(settings.token.get_secret_value(), key, settings.corp_id)
        self._token_name = f"{settings.corp_id}/{settings.agent_id}"
        menu = {f"{MENU}{button}": text for button, text in settings.menu.items()}
        self._canned = {"greeting": parts.texts.greeting, "help": parts.texts.help, **menu}
        self._fault = ""

    def verify(self, request: RawRequest) -> Challenge | Opened:
        if request.method == "GET":
            return Challenge(opened_echo(self._crypto, request.query))
        who = signed(request.query)
        opened = Opened(opened_message(self._crypto, who, ciphertext_of_xml(request.body)), who.nonce)
        refuse_stale(who, self._parts.clock(), self._settings.replay_window_s)
        return opened

    def parse(self, opened: Opened) -> Inbound | Event | Poll:
        return read_app(read_xml(opened.body), self._canned, self._settings.greet_on_enter)

    def acknowledge(self, opened: Opened, shown: Snapshot | None, event: Event | None) -> Ack:
        return Ack()

    def snapshot_at_first(self, message_key: str) -> tuple[str, str] | None:
        return None

    async def fetch(self, picture: PictureRef) -> bytes:
        """By its media id, from WeCom itself; by its address where that fails."""
        if picture.media_id:
            try:
                return await self._parts.pictures.by_media_id(picture.media_id, self._token)
            except (FetchFailed, TokenRefused, CallFailed) as fault:
                logger.warning("wecom %s: picture by media id: %s", self.surface, fault)
                if not picture.url:
                    raise FetchFailed("WeCom does not give the picture: send it again") from fault
        return await self._parts.pictures.by_url(picture.url, None)

    def ways(self, message: Message, inbound: Inbound) -> tuple[Way, ...]:
        own = Way(
            "message_send", MOST_BYTES, repeatable=True, quota_key=f"{self._token_name}/{inbound.sender}", quota=QUOTA,
            dialect="markdown" if self._settings.markdown else "plain", holds=True, twins_s=DUPLICATES_S,
        )  # fmt: skip
        robot = self._settings.fallback_robot
        return (own, self._parts.robots.way(robot)) if robot else (own,)

    async def send(self, way: Way, inbound: Inbound, part: Outgoing) -> Outcome:
        if way.name != "message_send":
            return await self._parts.robots.send(way, part)
        kind = "markdown" if self._settings.markdown else "text"
        body = {
            "touser": inbound.handle["user"], "msgtype": kind, "agentid": self._settings.agent_id,
            kind: {"content": part.text}, "enable_duplicate_check": 1, "duplicate_check_interval": DUPLICATES_S,
        }  # fmt: skip
        try:
            answer = await self._called(body)
        except TokenRefused as refusal:
            self._fault = str(refusal)
            retry = kind_of(refusal.code) in (Kind.BUSY, Kind.LIMIT)
            return Outcome(Verdict.RETRY if retry else Verdict.GONE, str(refusal.code), 60.0, alert=True)
        except CallFailed as fault:  # WeCom itself sees to it that the repetition comes once
            return Outcome(Verdict.RETRY, str(fault)[:64], after_s=2.0)
        outcome = outcome_of(answer)
        self._fault = told(answer.get("errcode", -1), str(answer.get("errmsg", ""))) if outcome.alert else ""
        if outcome.verdict is not Verdict.SENT:
            logger.warning("wecom %s: message/send: %s", self.surface, self._fault or outcome.code)
        return outcome

    async def serve(self, take: Take) -> None:
        return

    def is_here(self) -> bool:
        return True

    def health(self) -> Health:
        return Health(not self._fault, self._fault)

    async def _called(self, body: dict[str, Any]) -> dict[str, Any]:
        """message/send's answer; with another token, once, when the first is not valid any more."""
        token = await self._token(None)
        answer = await self._posted(body, token)
        if kind_of(answer.get("errcode", -1)) is Kind.TOKEN or answer.get("errcode") == 40001:
            answer = await self._posted(body, await self._token(token))
        return answer

    async def _posted(self, body: dict[str, Any], token: str) -> dict[str, Any]:
        url = f"{self._parts.qyapi}/cgi-bin/message/send"
        answer = await self._parts.calls.post(url, body, {"access_token": token})
        if answer.as_json is None:
            raise CallFailed(f"message/send: HTTP {answer.status}", True)
        return answer.as_json

    async def _token(self, failed: str | None) -> str:
        secret = self._settings.secret.get_secret_value()
        return await self._parts.tokens.get(self._token_name, self._settings.corp_id, secret, failed)
