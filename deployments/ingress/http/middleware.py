"""ASGI middleware: request ids, a bound on the body while it is read, and security headers."""

import re
import uuid
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import BodyTooLarge
from deployments.ingress.http.responses import error_response

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
FORM_OVERHEAD_BYTES = 64 * 1024
"""What a multipart body or JSON envelope may add to the picture itself."""


def request_id_of(scope: Scope) -> str:
    """The id of this request: Serve's own (it adds ``x-request-id`` at its proxy, or keeps the client's), if it is fit
    to be logged and put into a path, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class RequestContext:
    """Puts ``request_id`` into the request's state and safe defaults into every response's headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = request_id_of(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class BodyLimit:
    """Refuses a body above the limit as soon as its length is announced, or else as soon as it has arrived.

    The limit is read from the pipeline's knobs at each request, so that it can change on a running service. Base64, as
    the OpenAI route takes pictures, needs four bytes for three.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        picture_bytes: int = scope["app"].state.pipeline.knobs.max_body_bytes
        limit = picture_bytes * 4 // 3 + FORM_OVERHEAD_BYTES
        arrived, refused = 0, False

        async def counted() -> Message:
            nonlocal arrived, refused
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > limit:
                refused = True
                raise BodyTooLarge("stop reading")
            return message

        async def send_unless_refused(message: Message) -> None:
            if not refused:  # form parsers turn our exception into an error response of their own
                await send(message)

        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            refused = True
        else:
            with suppress(BodyTooLarge):
                await self.app(scope, counted, send_unless_refused)
        if refused:
            message = (
                f"the request's body is larger than the {picture_bytes} bytes allowed for a picture: send it smaller"
            )
            await error_response(scope["state"]["request_id"], BodyTooLarge(message))(scope, receive, send)
