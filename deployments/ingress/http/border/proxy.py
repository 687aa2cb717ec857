"""What stands in Serve's own proxy, before Ray acts on a request: it takes off what a stranger may not tell Ray, and
notes when the request arrived.

``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` leads here by way of ``serve_app/proxy.py``; every config sets it for the
proxies by its ``controller_options``. Without it the service holds all the same: it keeps its own deadlines
and hears who hangs up.
"""

import asyncio
import time

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.http.border.arrival import ARRIVED
from deployments.ingress.http.border.flow import Flow
from deployments.ingress.http.border.request_ids import request_id_of

# A time limit of the client's own, or none; going on without the client; a replica of the client's choice.
RAYS_OWN = frozenset((
    b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve-multiplexed-model-id", b"x-session-id",
))  # fmt: skip
REQUEST_ID = b"x-request-id"
OURS = RAYS_OWN | {ARRIVED.encode()}


def middlewares() -> list[Middleware]:
    """For Serve's proxies; the last one is asked first, and both before Serve's own."""
    return [Middleware(PacedBodies), Middleware(StrangersHeaders)]


class StrangersHeaders:
    """ASGI middleware without Ray's own headers, with an ``X-Request-ID`` that is fit to be logged, and with the time:
    a request's deadline counts from here, however long it waits for an ingress replica."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            stamp = (ARRIVED.encode(), f"{time.time():.6f}".encode())
            scope = {**scope, "headers": [*cleaned(scope["headers"]), stamp]}
        await self.app(scope, receive, send)


class PacedBodies:
    """ASGI middleware that lets bodies through no faster than ``Flow`` says; uvicorn reads no further meanwhile."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self._flow = app, Flow()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def paced() -> Message:
            message = await receive()
            if wait_s := self._flow.wait_s(len(message.get("body", b""))):
                await asyncio.sleep(wait_s)
            return message

        await self.app(scope, paced if scope["type"] == "http" else receive, send)


def cleaned(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without what only Ray or we may say; a request id that is unfit, missing or given twice gets replaced."""
    kept = [(_plain(name), name, value) for name, value in headers if _plain(name) not in OURS]
    ids = [value.decode("latin-1") for plain, _, value in kept if plain == REQUEST_ID]
    others = [(name, value) for plain, name, value in kept if plain != REQUEST_ID]
    return [*others, (REQUEST_ID, request_id_of(",".join(ids)).encode())]


def _plain(name: bytes) -> bytes:
    """As Ray compares names: it takes each ``_`` for a ``-``, as some proxies write it."""
    return name.lower().replace(b"_", b"-")
