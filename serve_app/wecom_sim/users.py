"""What users do: they write, send pictures, quote, press buttons, enter; on every surface."""

import asyncio
import json
import secrets
from dataclasses import dataclass
from typing import Any

from serve_app.wecom_sim.calling import Callback, Calling
from serve_app.wecom_sim.cipher import key_bytes
from serve_app.wecom_sim.media import Media
from serve_app.wecom_sim.sockets import Sockets
from serve_app.wecom_sim.world import World


@dataclass(frozen=True)
class Said:
    """One message of a user, in one chat: ``group`` is empty for the chat with the bot alone."""

    user: str
    text: str = ""
    pictures: tuple[bytes, ...] = ()
    group: str = ""
    quote: dict[str, Any] | None = None
    msgid: str = ""


class Users:
    """``bot_url`` is where the service answers."""

    def __init__(self, world: World, calling: Calling, media: Media, sockets: Sockets, bot_url: str) -> None:
        self.world, self.calling, self.media, self.sockets = world, calling, media, sockets
        self.bot_url = bot_url.rstrip("/")
        self._following: set[asyncio.Task[None]] = set()

    async def say(self, surface: str, said: Said) -> str:
        """Delivers it as WeCom would; returns the msgid once the bot has taken it, or never did."""
        kind, _, name = surface.partition("/")
        msgid = said.msgid or str(secrets.randbits(62))
        self.world.see(
            surface, said.group or said.user, "say", said.text, about=msgid, picture="🖼" * len(said.pictures)
        )
        if kind == "app":
            await self._to_app(name, said, msgid)
        elif kind == "bot":
            await self._to_bot(name, said, msgid)
        else:
            await self._to_socket(name, said, msgid)
        return msgid

    async def event(self, surface: str, user: str, event: str, key: str = "", at: int = 0) -> bytes | None:
        """Something that happens on an app or a bot; what the bot replies at once."""
        kind, _, name = surface.partition("/")
        if kind == "socket":
            await self.sockets.event(name, user, event)
            return None
        at = at or int(self.world.clock())
        if kind == "app":
            app = self.world.apps[name]
            inner = xml({"ToUserName": app.corp_id, "FromUserName": user, "CreateTime": at, "MsgType": "event",
                         "Event": event, "EventKey": key, "AgentID": app.agent_id})  # fmt: skip
            return await self.calling.deliver(Callback(self._url("app", name), app.seal, inner.encode(), True))
        body = {"msgid": secrets.token_hex(8), "create_time": at, "aibotid": name, "from": {"userid": user},
                "msgtype": "event", "event": {"eventtype": event}}  # fmt: skip
        reply = await self.calling.deliver(
            Callback(self._url("bot", name), self.world.bots[name].seal, json.dumps(body).encode(), False)
        )
        if reply:
            self.world.see(surface, user, "message", json.loads(reply)["text"]["content"])
        return reply

    async def settled(self) -> None:
        """Returns when every stream has come to its end."""
        while self._following:
            await asyncio.wait(self._following)

    async def _to_app(self, name: str, said: Said, msgid: str) -> None:
        """Text and picture are two messages: an app never gets both in one."""
        app, now = self.world.apps[name], int(self.world.clock())
        common = {"ToUserName": app.corp_id, "FromUserName": said.user, "CreateTime": now}
        messages: list[dict[str, Any]] = []
        for place, picture in enumerate(said.pictures):
            media_id, url = self.media.upload(picture), self.media.post(picture)
            messages.append({"MsgType": "image", "PicUrl": url, "MediaId": media_id, "MsgId": f"{msgid}{place or ''}"})
        if said.text:
            text_id = f"{int(msgid) + 1}" if said.pictures else msgid
            messages.append({"MsgType": "text", "Content": said.text, "MsgId": text_id})
        for fields in messages:
            inner = xml(common | fields | {"AgentID": app.agent_id})
            await self.calling.deliver(Callback(self._url("app", name), app.seal, inner.encode(), True))

    async def _to_bot(self, name: str, said: Said, msgid: str) -> None:
        bot, chat = self.world.bots[name], said.group or said.user
        surface, url = f"bot/{name}", self._url("bot", name)
        key = key_bytes(bot.seal.encoding_aes_key)
        body = self.body(said, msgid, surface, bot.name, lambda picture: {"url": self.media.post(picture, key)})
        first = await self.calling.deliver(Callback(url, bot.seal, json.dumps(body).encode(), False))
        if first:
            self.follow(url, surface, chat, msgid, first)

    def follow(self, url: str, surface: str, chat: str, msgid: str, first: bytes) -> None:
        """Shows a bot's reply to whoever is in the chat, and what becomes of its stream."""
        seal = self.world.bots[surface.partition("/")[2]].seal
        following = asyncio.create_task(self.calling.follow(url, surface, seal, chat, msgid, first))
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    async def _to_socket(self, name: str, said: Said, msgid: str) -> None:
        socket = self.world.sockets[name]

        def posted(picture: bytes) -> dict[str, str]:
            key = secrets.token_bytes(32)
            return {"url": self.media.post(picture, key), "aeskey": _spelt(key)}

        body = self.body(said, msgid, f"socket/{name}", socket.name, posted)
        await self.sockets.message(name, said.group or said.user, msgid, body)

    def body(self, said: Said, msgid: str, surface: str, bot_name: str, posted: Any) -> dict[str, Any]:
        """A bot's message, the same over the webhook and the long connection."""
        chat = said.group or said.user
        code = self.world.new_response_code(surface, chat, msgid)
        text = f"@{bot_name} {said.text}" if said.group and said.text else said.text
        items: list[dict[str, Any]] = [{"msgtype": "text", "text": {"content": text}}] if text else []
        items += [{"msgtype": "image", "image": posted(picture)} for picture in said.pictures]
        inner = items[0] if len(items) == 1 else {"msgtype": "mixed", "mixed": {"msg_item": items}}
        return {
            "msgid": msgid, "aibotid": surface, "chattype": "group" if said.group else "single",
            **({"chatid": said.group} if said.group else {}), "from": {"userid": said.user},
            "response_url": f"{self.media.base_url}/cgi-bin/aibot/response?response_code={code}",
            **inner, **({"quote": said.quote} if said.quote else {}),
        }  # fmt: skip

    def _url(self, kind: str, name: str) -> str:
        return f"{self.bot_url}/wecom/{kind}/{name}"


def xml(fields: dict[str, Any]) -> str:
    """A message as WeCom writes it: texts in CDATA, numbers bare."""
    parts = [
        f"<{name}>{value}</{name}>" if isinstance(value, int) else f"<{name}><![CDATA[{_cdata(str(value))}]]></{name}>"
        for name, value in fields.items()
    ]
    return f"<xml>{''.join(parts)}</xml>"


def _cdata(text: str) -> str:
    return text.replace("]]>", "]]]]><![CDATA[>")


def _spelt(key: bytes) -> str:
    """A key as WeCom usually spells it: base64 without its equals sign."""
    import base64

    return base64.b64encode(key).decode().rstrip("=")
