"""API keys: ``Authorization: Bearer KEY``, against SHA-256 digests, in constant time, before a body is read."""

import hashlib
import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.contract import PUBLIC
from deployments.errors import Unauthorized
from deployments.ingress.http.responses import error_response

PROTECTED = ("/v1/", "/chat")
"""Paths that cost work or tell of it. The page, its samples and ``/healthz`` are open: they carry no key."""


class RequireKey:
    """ASGI middleware: 401 on protected paths unless no keys are configured or the caller's is one of them.

    Leaves ``tenant`` in the request's state: the digest of the caller's key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PROTECTED):
            digests: tuple[str, ...] = scope["app"].state.pipeline.knobs.api_key_sha256
            tenant = tenant_of(Headers(scope=scope).get("authorization", ""), digests) if digests else PUBLIC
            scope["state"]["tenant"] = tenant
            if tenant is None:
                refusal = Unauthorized("an API key is needed: send it as `Authorization: Bearer KEY`")
                await error_response(scope["state"]["request_id"], refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def tenant_of(authorization: str, digests: tuple[str, ...]) -> str | None:
    """Which of the digests the header's key has, None if no one; takes equally long whichever it is."""
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode()).hexdigest()
    matches = [hmac.compare_digest(digest, known) for known in digests]
    return digest if scheme.lower() == "bearer" and any(matches) else None
