"""Who may call a route: every route is either keyed or public, and says so by its class. There is no third kind.

The key is asked for once a route has been found, so that no prefix or root path can lead around it, and before the
body is read. It is sent as ``Authorization: Bearer KEY`` and compared as a SHA-256 digest, in constant time.
"""

import hashlib
import hmac
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match

from deployments.contract import PUBLIC
from deployments.errors import Unauthorized

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PublicRoute(APIRoute):
    """Open to everybody: it costs no work and tells of nobody's."""


class KeyedRoute(APIRoute):
    """401 unless no keys are configured or the caller's is one of them. Leaves ``tenant`` in the request's state."""

    asks: ClassVar[bool] = False

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def authorised(request: Request) -> Response:
            request.state.tenant = authorised_tenant(request)
            request.state.asks = self.asks
            return await handle(request)

        return authorised


class AskRoute(KeyedRoute):
    """A keyed route that answers a question: it leaves its tenant a record, however it ends."""

    asks = True


def authorised_tenant(request: Request) -> str:
    """Whose request it is: the digest of the caller's key, or everybody's where none is asked for."""
    digests: tuple[str, ...] = request.app.state.pipeline.knobs.api_key_sha256
    tenant = tenant_of(request.headers.get("authorization", ""), digests) if digests else PUBLIC
    if tenant is None:
        raise Unauthorized("an API key is needed: send it as `Authorization: Bearer KEY`")
    return tenant


def tenant_of(authorization: str, digests: tuple[str, ...]) -> str | None:
    """Which of the digests the header's key has, None if no one; takes equally long whichever it is."""
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode("latin-1")).hexdigest()  # the bytes that were sent, whatever they mean
    matches = [hmac.compare_digest(digest, known) for known in digests]
    return digest if scheme.lower() == "bearer" and any(matches) else None


def public_routes(routers: Iterable[APIRouter]) -> tuple[PublicRoute, ...]:
    """Those that are open. Raises TypeError for a route that does not say who may call it."""
    routes = [route for router in routers for route in router.routes]
    for route in routes:
        if not isinstance(route, KeyedRoute | PublicRoute):
            raise TypeError(f"{route} is neither keyed nor public: give its router a route_class of routes.py")
    return tuple(route for route in routes if isinstance(route, PublicRoute))


def check_stranger(request: Request) -> None:
    """Raises Unauthorized for who may not even learn which other paths and methods there are."""
    if all(route.matches(request.scope)[0] is Match.NONE for route in request.app.state.public_routes):
        authorised_tenant(request)
