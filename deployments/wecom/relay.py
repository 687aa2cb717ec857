"""The plain JSON form, for a program of one's own: authenticated by a key, answered through robots by their names.

``{"MsgType": "image", "Image": {"PicUrl": …}, "Text": {"Content": …}, "robot_webhook": NAME}``. An address where the
name should be is refused: whoever could name one would have the bot post wherever they like.
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from deployments.errors import RequestError, Unauthorized
from deployments.ingress.http.routes import tenant_of
from deployments.store.rows import Message
from deployments.texts import quoted
from deployments.wecom.inbound import Event, Inbound, PictureRef, dedup_key
from deployments.wecom.json_envelope import read_json
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
from deployments.wecom.settings import RelaySettings


class RelayPlatform:
    """``relay/{name}``."""

    def __init__(self, name: str, settings: RelaySettings, parts: Parts) -> None:
        self.surface = f"relay/{name}"
        self._settings, self._parts = settings, parts

    def verify(self, request: RawRequest) -> Challenge | Opened:
        if tenant_of(request.headers.get("authorization", ""), self._settings.key_sha256) is None:
            raise Unauthorized("the relay's key is needed: send it as `Authorization: Bearer KEY`")
        return Opened(request.body)

    def parse(self, opened: Opened) -> Inbound | Event | Poll:
        body = read_json(opened.body)
        robot = self._robot(body)
        words = _text(_object(body, "Text").get("Content") or body.get("Content")).strip()
        url = _text(_object(body, "Image").get("PicUrl") or body.get("PicUrl")).strip()
        if not words and not url:
            raise RequestError("the message has neither Image.PicUrl nor Text.Content")
        # Programs that repeat a message give it an id; one without is a new message each time.
        id = _text(body.get("MsgId")) or secrets.token_hex(16)
        sender = _text(body.get("FromUserName")) or "relay"
        pictures = (PictureRef(url=url),) if url else ()
        return Inbound(dedup_key(sender, id), sender, robot, words=words, pictures=pictures, handle={"robot": robot})

    def acknowledge(self, opened: Opened, shown: Snapshot | None, event: Event | None) -> Ack:
        return Ack(json.dumps({"accepted": True}).encode(), "application/json")

    def snapshot_at_first(self, message_key: str) -> tuple[str, str] | None:
        return None

    async def fetch(self, picture: PictureRef) -> bytes:
        return await self._parts.pictures.by_url(picture.url, None)

    def ways(self, message: Message, inbound: Inbound) -> tuple[Way, ...]:
        names = [inbound.handle["robot"], self._settings.fallback_robot]
        return tuple(self._parts.robots.way(name) for name in dict.fromkeys(filter(None, names)))

    async def send(self, way: Way, inbound: Inbound, part: Outgoing) -> Outcome:
        return await self._parts.robots.send(way, part)

    async def serve(self, take: Take) -> None:
        return

    def is_here(self) -> bool:
        return True

    def health(self) -> Health:
        return Health()

    def _robot(self, body: Mapping[str, Any]) -> str:
        """The robot that the message names, or the only one there is. Raises RequestError."""
        named = _text(body.get("robot_webhook")) or (
            self._settings.robots[0] if len(self._settings.robots) == 1 else ""
        )
        if named not in self._settings.robots:
            known = ", ".join(self._settings.robots)
            hint = "robot_webhook is a robot's name, never an address" if "/" in named else "robot_webhook is no robot"
            raise RequestError(f"{hint}, got {quoted(named.partition('?')[0])}: name one of {known}")
        return named


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
