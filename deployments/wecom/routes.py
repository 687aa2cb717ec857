"""WeCom's addresses on the service's own HTTP surface. Each authenticates its sender itself, before anything is read.

A body is taken up to a bound of its own; a surface that is not configured is not there.
"""

import logging
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from deployments.errors import BodyTooLarge, NotFound
from deployments.ingress.http.routes import KeyedRoute, PublicRoute
from deployments.texts import quoted
from deployments.wecom.platform import RawRequest
from deployments.wecom.service import WecomService

logger = logging.getLogger("ray.serve")


class SignedRoute(PublicRoute):
    """Open to everybody's first look: its platform checks who has signed, and tells nothing to whoever has not."""


def routers(service: WecomService) -> tuple[APIRouter, ...]:
    """The routes of what is configured."""
    signed = APIRouter(route_class=SignedRoute, include_in_schema=False)
    keyed = APIRouter(route_class=KeyedRoute, include_in_schema=False)

    async def callback(request: Request, kind: str, name: str) -> Response:
        platform = service.platforms.get(f"{kind}/{name}")
        if platform is None:
            raise NotFound(f"no {kind} is configured under the name {quoted(name)}")
        raw = RawRequest(
            request.method, dict(request.query_params), dict(request.headers), await _body(request, service)
        )
        ack = await service.receiving.callback(platform, raw)
        return Response(ack.body, media_type=ack.media_type)

    async def status(request: Request) -> Response:
        return JSONResponse(await service.status())

    for kind, methods in (("app", ["GET", "POST"]), ("bot", ["GET", "POST"]), ("relay", ["POST"])):
        signed.add_api_route(f"/wecom/{kind}/{{name}}", _of(kind, callback), methods=methods, response_model=None)
    keyed.add_api_route("/wecom/status", status, methods=["GET"], response_model=None)
    return signed, keyed


def _of(kind: str, callback: Any) -> Any:
    async def endpoint(request: Request, name: str) -> Response:
        response: Response = await callback(request, kind, name)
        return response

    return endpoint


async def _body(request: Request, service: WecomService) -> bytes:
    """Raises BodyTooLarge, as soon as it is."""
    most, body = service.settings.limits.max_callback_bytes, b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise BodyTooLarge(f"a callback has at most {most} bytes")
    return body
