"""An answer that comes before the whole body was read: what is still on its way is let in for a moment, then that's it.

Closing at once would reset the connection of a client that is still sending, before it has read why. Keeping it open
would have a refused upload hold it for as long as its client likes.
"""

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_S = 2.0


class UnreadBodies:
    """ASGI middleware: after such an answer the rest is read and forgotten for ``LINGER_S``; the connection ends."""

    def __init__(self, app: ASGIApp, linger_s: float | None = None) -> None:
        self.app, self._linger_s = app, LINGER_S if linger_s is None else linger_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        whole = False

        async def tracked() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def read_and_forgotten() -> None:
            try:
                async with asyncio.timeout(self._linger_s):
                    while not whole:
                        await tracked()
            except TimeoutError:
                pass

        async def send_and_end(message: Message) -> None:
            if message["type"] == "http.response.start" and not whole:
                MutableHeaders(scope=message)["Connection"] = "close"
            if message["type"] == "http.response.body" and not message.get("more_body", False) and not whole:
                await send({**message, "more_body": True})
                await read_and_forgotten()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self.app(scope, tracked, send_and_end)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
