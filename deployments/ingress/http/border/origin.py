"""What a browser may do here on behalf of a page: only pages of this service ask it questions.

A page elsewhere can post a form to any address, and by DNS rebinding can have its own name lead to this service.
Programs send no ``Origin``, and a bare address in ``Host`` was not looked up: both are let through. Where keys are
asked for, a foreign name is harmless: no page of it knows a key.
"""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.errors import HostNotAllowed, OriginNotAllowed, RequestError
from deployments.ingress.download.settings import matches
from deployments.ingress.http.responses import error_response
from deployments.ingress.settings import IngressKnobs

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class OwnPagesOnly:
    """ASGI middleware: 403 for a foreign ``Host`` or ``Origin``. ``allowed_hosts`` names those that are not foreign."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = refusal_of(Headers(scope=scope), scope["method"], scope["app"].state.pipeline.knobs)
            if refusal is not None:
                scope["state"]["error"] = refusal.code
                await error_response(scope["state"]["request_id"], refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def refusal_of(headers: Headers, method: str, knobs: IngressKnobs) -> RequestError | None:
    """Why a request with these headers is not answered, if so."""
    hosts = headers.getlist("host")
    if len(hosts) > 1:
        return RequestError("the request has several Host headers: send one")
    host = hosts[0] if hosts else ""
    if host and not knobs.api_key_sha256 and not _is_known(_name(host), knobs):
        return HostNotAllowed(
            "this service does not answer under that host name: use its address, or have the operator allow the name"
        )
    if method not in SAFE_METHODS and _is_foreign(headers, host, knobs):
        return OriginNotAllowed("pages of other sites may not ask here: use the service's own page, or a program")
    return None


def _is_foreign(headers: Headers, host: str, knobs: IngressKnobs) -> bool:
    """Whether a page elsewhere asks: by its origin, or by the browser's word where its origin was taken off."""
    origins = headers.getlist("origin")
    if not origins:
        return headers.get("sec-fetch-site") == "cross-site"
    return not all(_is_own(origin, host, knobs) for origin in origins)


def _is_known(name: str, knobs: IngressKnobs) -> bool:
    """Whether the name can only lead here by right: loopback's, an address, or one that the operator allows."""
    loopback = name == "localhost" or name.endswith(".localhost")
    return loopback or _is_address(name) or any(matches(pattern, name) for pattern in knobs.allowed_hosts)


def _is_own(origin: str, host: str, knobs: IngressKnobs) -> bool:
    """Whether the page is this service's, or of a host that the operator allows. ``null`` is nobody's."""
    try:
        page = urlsplit(origin)
        name, port = (page.hostname or "").removesuffix("."), str(page.port or _DEFAULT_PORTS.get(page.scheme, ""))
    except ValueError:
        return False
    if any(matches(pattern, name) for pattern in knobs.allowed_hosts):
        return True
    found = _HOST.fullmatch(host)
    here = (found[2] or _DEFAULT_PORTS.get(page.scheme)) if found else None
    return bool(name) and (name, port) == (_name(host), here)


def _name(host: str) -> str:
    """The host without its port, in lower case, without brackets or a last dot."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower().removesuffix(".") if found else host


def _is_address(name: str) -> bool:
    try:
        return ip_address(name) is not None
    except ValueError:
        return False
