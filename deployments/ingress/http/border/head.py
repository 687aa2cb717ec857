"""What a request's head may be: servers take headers of any length, and everything behind them reads them whole."""

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import HeadersTooLarge
from deployments.ingress.http.responses import error_response

MAX_HEAD_BYTES = 64 * 1024
"""All headers together, as HTTP/2 counts them (RFC 9113, 6.5.2)."""
HEADER_OVERHEAD_BYTES = 32


class HeadGuard:
    """ASGI middleware: 431 for a request whose headers are larger than any client's."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _size(scope["headers"]) <= MAX_HEAD_BYTES:
            await self.app(scope, receive, send)
            return
        refusal = HeadersTooLarge(
            f"the request's headers are larger than {MAX_HEAD_BYTES} bytes: send fewer, or shorter"
        )
        scope["state"]["error"] = refusal.code
        response = error_response(scope["state"]["request_id"], refusal)
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in headers)
