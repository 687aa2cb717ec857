"""ASGI middleware around everything: request ids, safe headers, what hanging up means, the access line, the record."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.asking import CANCELLED, HUNG_UP
from deployments.ingress.http.border.arrival import ARRIVED, arrival
from deployments.ingress.http.border.request_ids import request_id_of
from deployments.ingress.pipeline import Pipeline

logger = logging.getLogger("ray.serve")

SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
KEEPS_ON = "x-request-disconnect-disabled"
"""The header by which a client tells Serve's proxy to go on when it hangs up."""


@dataclass(slots=True)
class _Exchange:
    """What a request's state begins with, and the status that it ended with (0: nothing was sent)."""

    state: dict[str, object]
    arrived: float
    status: int = 0

    @property
    def error(self) -> str | None:
        return str(self.state["error"]) if "error" in self.state else None


class RequestContext:
    """Puts ``request_id`` and ``arrived`` (seconds since the epoch) into the request's state, and safe defaults into
    every response's headers. Writes one line a request, and a record of a question that got no further than us."""

    def __init__(self, app: ASGIApp, pipeline: Pipeline, clock: Callable[[], float] = time.time) -> None:
        self.app, self._pipeline, self._clock = app, pipeline, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = request_id_of(Headers(scope=scope).get("x-request-id", ""))
        state["arrived"] = arrival(Headers(scope=scope).get(ARRIVED, ""), self._clock())
        exchange = _Exchange(state, state["arrived"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._called(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            state["error"] = CANCELLED
            raise
        finally:
            await self._accounted(scope, exchange)

    async def _called(self, scope: Scope, receive: Receive, send: Send) -> None:
        if KEEPS_ON in Headers(scope=scope):
            await called_until_hung_up(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _accounted(self, scope: Scope, exchange: _Exchange) -> None:
        state, error = exchange.state, exchange.error
        if error == CANCELLED:
            exchange.status = HUNG_UP  # whatever was sent to nobody
        took_ms = round((self._clock() - exchange.arrived) * 1e3)
        path = scope["path"][:200].encode("unicode_escape").decode()  # it has been unquoted: line ends and all
        logger.info("%s %s %s%s %d ms", scope["method"], path, exchange.status, f" {error}" if error else "", took_ms)
        if state.get("asks") and error is not None:
            await self._pipeline.ended(
                str(state["tenant"]), str(state["request_id"]), exchange.arrived, exchange.status, error
            )


async def called_until_hung_up(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """The application's answer, given up when the client goes away: work for nobody is nobody's wish."""
    listener = _Listener(receive)
    answering = asyncio.ensure_future(app(scope, listener.receive, send))
    hanging_up = asyncio.ensure_future(listener.hung_up())
    try:
        await asyncio.wait((answering, hanging_up), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise asyncio.CancelledError
        await answering
    finally:
        for task in (answering, hanging_up):
            task.cancel()
        await asyncio.wait((answering, hanging_up))


@dataclass(slots=True)
class _Listener:
    """Hands the body's messages on, and listens for the end of the connection once they are all there."""

    source: Receive
    _whole: asyncio.Event = field(default_factory=asyncio.Event)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> Message:
        if self._whole.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self.source()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._whole.set()
        return message

    async def hung_up(self) -> None:
        await self._whole.wait()
        while (await self.source())["type"] != "http.disconnect":
            pass
        self._gone.set()
