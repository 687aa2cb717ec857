"""Callbacks to the bot: signed, encrypted, repeated when no answer comes in time; and streams asked after."""

import asyncio
import json
import time
from dataclasses import dataclass

import httpx2

from serve_app.wecom_sim.cipher import Rejected, Seal
from serve_app.wecom_sim.world import World

STREAM_ENDS_S = 360.0
ENVELOPE = (
    "<xml><ToUserName><![CDATA[{to}]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt>"
    "<AgentID><![CDATA[0]]></AgentID></xml>"
)


@dataclass(frozen=True)
class Callback:
    """One callback: where to, with what inside. ``is_xml`` for apps, ``is_poll`` where it asks after a stream."""

    url: str
    seal: Seal
    inner: bytes
    is_xml: bool
    is_poll: bool = False


class Calling:
    def __init__(self, world: World, client: httpx2.AsyncClient | None = None) -> None:
        self.world = world
        self._client = client or httpx2.AsyncClient(trust_env=False, limits=httpx2.Limits(max_connections=512))

    async def close(self) -> None:
        await self._client.aclose()

    async def verify(self, url: str, seal: Seal) -> bool:
        """Whether the address proves to be the bot's, within a second, as the admin console asks."""
        echo = str(time.time_ns()).encode()
        encrypt = seal.closed(echo)
        query = seal.query(encrypt, int(self.world.clock())) | {"echostr": encrypt}
        try:
            response = await self._client.get(url, params=query, timeout=1.0)
        except httpx2.HTTPError:
            return False
        return response.status_code == 200 and response.content == echo

    async def deliver(self, callback: Callback) -> bytes | None:
        """What the bot replies, opened; b"" for nothing, None when it never took it."""
        for attempt in range(1 + self.world.retries):
            if attempt:
                self.world.counts["retries"] += 1
            try:
                reply = await self._once(callback)
            except httpx2.TimeoutException:
                continue
            except httpx2.HTTPError:
                await asyncio.sleep(self.world.retry_pause_s)
                continue
            if reply is not None and not self._is_lost(attempt):
                return self._opened(callback, reply)
            await asyncio.sleep(self.world.retry_pause_s)
        self.world.counts["callbacks lost"] += 1
        return None

    def _is_lost(self, attempt: int) -> bool:
        """The bot has answered, and the answer gets lost on its way back."""
        return attempt == 0 and bool(self.world.modes & {"lost-acknowledgement", "lost-first-reply"})

    async def _once(self, callback: Callback) -> bytes | None:
        """The body of a 200; each attempt is signed anew over the same ciphertext."""
        encrypt = callback.seal.closed(callback.inner)
        query = callback.seal.query(encrypt, int(self.world.clock()))
        if callback.is_xml:
            body = ENVELOPE.format(to=callback.seal.receiver, encrypt=encrypt).encode()
        else:
            body = json.dumps({"encrypt": encrypt}).encode()
        began = time.monotonic()
        response = await self._client.post(callback.url, params=query, content=body, timeout=self.world.patience_s)
        (self.world.polled_s if callback.is_poll else self.world.acknowledged_s).append(time.monotonic() - began)
        self.world.counts[f"callback {response.status_code}"] += 1
        if response.status_code != 200:
            return None
        if response.content and not callback.is_xml:
            given = json.loads(response.content)
            expected = callback.seal.signature(str(given["timestamp"]), given["nonce"], given["encrypt"])
            if given["msgsignature"] != expected or given["nonce"] != query["nonce"]:
                raise Rejected("the reply is not signed for this callback")
        return response.content

    def _opened(self, callback: Callback, reply: bytes) -> bytes:
        if not reply or callback.is_xml:
            return reply
        return callback.seal.opened(json.loads(reply)["encrypt"])

    async def follow(self, url: str, surface: str, seal: Seal, chat: str, msgid: str, first: bytes) -> None:
        """Shows a bot's stream, and asks after it until it ends, or six minutes have passed."""
        reply, began = json.loads(first), self.world.clock()
        if reply.get("msgtype") != "stream":
            self.world.see(surface, chat, "message", reply.get("text", {}).get("content", ""), about=msgid)
            return
        stream = reply["stream"]
        self._shown(surface, chat, msgid, stream, "")
        shown = stream.get("content", "")
        while not stream.get("finish") and self.world.clock() < began + STREAM_ENDS_S:
            await asyncio.sleep(self.world.poll_s)
            body = {"msgid": msgid, "aibotid": surface, "msgtype": "stream", "stream": {"id": stream["id"]}}
            self.world.counts["polls"] += 1
            inner = json.dumps(body | {"from": {"userid": chat}}).encode()
            reply_now = await self.deliver(Callback(url, seal, inner, False, is_poll=True))
            if not reply_now:
                continue
            stream = json.loads(reply_now)["stream"]
            self._shown(surface, chat, msgid, stream, shown)
            shown = stream.get("content", "")
        if not stream.get("finish"):
            self.world.counts["streams never finished"] += 1

    def _shown(self, surface: str, chat: str, msgid: str, stream: dict[str, object], before: str) -> None:
        text, finished = str(stream.get("content", "")), bool(stream.get("finish"))
        visible = text.replace("<think></think>", "").strip()
        if visible and (finished or text != before):
            self.world.see(surface, chat, "stream", visible, about=msgid, finished=finished)
        if finished and not visible:
            self.world.counts["streams that ended empty"] += 1
