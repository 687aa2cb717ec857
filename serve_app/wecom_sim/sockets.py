"""openws.work.weixin.qq.com: the long connection of AI bots, one valid connection a bot, after path/101463."""

import asyncio
import contextlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from serve_app.wecom_sim.world import World

QUOTA = ((30, 60.0), (1000, 3600.0))
STREAM_LASTS_S = 360.0
REQ_ID_LASTS_S = 86400.0
EVICTED_CLOSES_S = 2.2
"""An evicted connection is told at once and closed so much later."""


@dataclass
class Asked:
    """A message that a connection was given: whose chat, and when its stream began."""

    bot: str
    chat: str
    msgid: str
    at: float
    stream_began: float | None = None
    text: str = ""


@dataclass
class Sockets:
    world: World
    live: dict[str, WebSocket] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    chats: set[tuple[str, str]] = field(default_factory=set)
    pending: dict[str, list[tuple[str, str, dict[str, Any]]]] = field(default_factory=dict)
    pongs: bool = True
    acks: bool = True

    async def serve(self, socket: WebSocket) -> None:
        """One connection, from its opening to its end."""
        await socket.accept()
        self.world.counts["socket connections"] += 1
        bot = ""
        if "early-event" in self.world.modes:
            await self._send(socket, "aibot_event_callback", {"event": {"eventtype": "auth_change_event"}})
        try:
            while True:
                frame = json.loads(await socket.receive_text())
                bot = await self._frame(socket, bot, frame)
        except (WebSocketDisconnect, ValueError, RuntimeError):
            self.world.counts["socket disconnects"] += 1
        finally:
            if self.live.get(bot) is socket:
                del self.live[bot]

    async def message(self, bot: str, chat: str, msgid: str, body: dict[str, Any]) -> None:
        """A user's message, to the bot's connection as soon as there is one."""
        self.chats.add((bot, chat))
        socket = self.live.get(bot)
        if socket is None:
            self.pending.setdefault(bot, []).append((chat, msgid, body))
            return
        req_id = secrets.token_hex(12)
        self.asked[req_id] = Asked(bot, chat, msgid, self.world.clock())
        try:
            await self._send(socket, "aibot_msg_callback", body, req_id)
        except (WebSocketDisconnect, RuntimeError):  # it is closing: the next connection gets the message
            del self.asked[req_id]
            self.pending.setdefault(bot, []).append((chat, msgid, body))

    async def event(self, bot: str, user: str, event: str) -> None:
        socket, req_id = self.live[bot], secrets.token_hex(12)
        self.asked[req_id] = Asked(bot, user, "", self.world.clock())
        body = {
            "msgid": secrets.token_hex(8),
            "msgtype": "event",
            "from": {"userid": user},
            "event": {"eventtype": event},
        }
        await self._send(socket, "aibot_event_callback", body, req_id)

    async def close(self, bot: str, code: int = 1000) -> None:
        """Closes the bot's connection from this side."""
        with contextlib.suppress(KeyError, RuntimeError):
            await self.live[bot].close(code)

    async def _frame(self, socket: WebSocket, bot: str, frame: dict[str, Any]) -> str:
        """The bot that the connection is of, after this frame."""
        command, req_id = frame.get("cmd"), frame.get("headers", {}).get("req_id", "")
        self.world.counts[f"frame {command}"] += 1
        if command == "aibot_subscribe":
            return await self._subscribed(socket, bot, req_id, frame["body"])
        if command == "ping":
            if self.pongs:
                await self._ack(socket, req_id, 0)
            return bot
        if self.live.get(bot) is not socket:
            await self._ack(socket, req_id, 846609)
            return bot
        handler = {"aibot_respond_msg": self._respond, "aibot_send_msg": self._push,
                   "aibot_respond_welcome_msg": self._welcome}.get(str(command))  # fmt: skip
        code = handler(bot, req_id, frame.get("body", {})) if handler else 846609
        if self.acks:
            await self._ack(socket, req_id, code)
        return bot

    async def _subscribed(self, socket: WebSocket, bot: str, req_id: str, body: dict[str, Any]) -> str:
        found = next(
            (
                n
                for n, s in self.world.sockets.items()
                if (s.bot_id, s.secret) == (body.get("bot_id"), body.get("secret"))
            ),
            "",
        )
        if not found:
            self.world.counts["authentication failures"] += 1
            await self._ack(socket, req_id, 853000, "invalid bot_id or secret")
            return bot
        older = self.live.get(found)
        if older is not None and older is not socket:
            asyncio.get_running_loop().create_task(self._evicted(older))
        self.live[found] = socket
        if "req-ids-die" in self.world.modes:
            self.asked = {key: one for key, one in self.asked.items() if one.bot != found}
        await self._ack(socket, req_id, 0)
        for chat, msgid, waiting in self.pending.pop(found, []):
            await self.message(found, chat, msgid, waiting)
        if "clean-close" in self.world.modes:
            asyncio.get_running_loop().create_task(self._closes(found, socket))
        return found

    async def _evicted(self, socket: WebSocket) -> None:
        self.world.counts["evictions"] += 1
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            body = {"msgtype": "event", "event": {"eventtype": "disconnected_event"}}
            await self._send(socket, "aibot_event_callback", body)
            await asyncio.sleep(EVICTED_CLOSES_S)
            await socket.close(1000)

    async def _closes(self, bot: str, socket: WebSocket) -> None:
        await asyncio.sleep(1.0)
        if self.live.get(bot) is socket:
            self.world.modes.discard("clean-close")
            await self.close(bot)

    def _respond(self, bot: str, req_id: str, body: dict[str, Any]) -> int:
        world, asked = self.world, self.asked.get(req_id)
        if asked is None or asked.bot != bot or not asked.msgid or world.clock() > asked.at + REQ_ID_LASTS_S:
            return 846605
        if world.over_quota(f"socket/{bot}/{asked.chat}", QUOTA):
            return 846607
        stream = body.get("stream", {})
        text, finished = str(stream.get("content", "")), bool(stream.get("finish", True))
        if body.get("msgtype") == "markdown":
            text, finished = str(body["markdown"]["content"]), True
        asked.stream_began = asked.stream_began or world.clock()
        if world.clock() > asked.stream_began + STREAM_LASTS_S:
            return 846608
        if len(text.encode()) > 20480:
            return 45002
        visible = text.replace("<think></think>", "").strip()
        if finished and not visible:
            world.counts["streams that ended empty"] += 1
        if visible and text != asked.text:
            world.see(f"socket/{bot}", asked.chat, "stream", visible, about=asked.msgid, finished=finished)
        asked.text = text
        return 0

    def _push(self, bot: str, req_id: str, body: dict[str, Any]) -> int:
        chat = str(body.get("chatid", ""))
        if (bot, chat) not in self.chats:
            return 93006
        if self.world.over_quota(f"socket/{bot}/{chat}", QUOTA):
            return 846607
        self.world.see(f"socket/{bot}", chat, "message", str(body.get("markdown", {}).get("content", "")))
        return 0

    def _welcome(self, bot: str, req_id: str, body: dict[str, Any]) -> int:
        asked = self.asked.get(req_id)
        if asked is None or self.world.clock() > asked.at + 5:
            return 846605
        self.world.see(f"socket/{bot}", asked.chat, "message", str(body.get("text", {}).get("content", "")))
        return 0

    async def _ack(self, socket: WebSocket, req_id: str, code: int, errmsg: str = "") -> None:
        answer = {"headers": {"req_id": req_id}, "errcode": code, "errmsg": errmsg or ("ok" if code == 0 else "error")}
        await socket.send_text(json.dumps(answer))

    async def _send(self, socket: WebSocket, command: str, body: dict[str, Any], req_id: str = "") -> None:
        frame = {"cmd": command, "headers": {"req_id": req_id or secrets.token_hex(12)}, "body": body}
        text = json.dumps(frame, ensure_ascii=False)
        if "raw-newlines" in self.world.modes:
            text = text.replace("\\n", "\n")
        await socket.send_text(text)
