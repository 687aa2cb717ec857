"""The one place where what goes wrong becomes a response: exceptions of ours, of FastAPI's and of Starlette's."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from deployments.errors import MethodNotAllowed, NotFound, RequestError, TuwenError, Unauthorized
from deployments.ingress.asking import CANCELLED, HUNG_UP
from deployments.ingress.http.complaints import told
from deployments.ingress.http.methods import allowed
from deployments.ingress.http.responses import error_response
from deployments.ingress.http.routes import check_stranger
from deployments.texts import quoted

logger = logging.getLogger("ray.serve")

Handler = Callable[[Request, Exception], Awaitable[Response]]


def register(app: FastAPI) -> None:
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)


async def tuwen_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TuwenError)
    return _failed(request, error)


async def invalid_field(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _failed(request, RequestError(told(error.errors())))


async def http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: unknown paths, wrong methods, bodies that cannot be parsed."""
    assert isinstance(error, HTTPException)
    try:
        check_stranger(request)
    except Unauthorized as refusal:
        return _failed(request, refusal)
    if error.status_code == 405:
        return _wrong_method(request)
    if error.status_code == 404:
        return _failed(request, NotFound(_nothing_there(request)))
    return _failed(request, RequestError(f"the request cannot be read: {error.detail}"))


async def gone(request: Request, error: Exception) -> Response:
    """The client went away while it was sending: nobody reads this, and it is no fault of ours."""
    request.state.error = CANCELLED
    return Response(status_code=HUNG_UP)


async def unexpected(request: Request, error: Exception) -> Response:
    logger.error("request %s failed", request.state.request_id, exc_info=error)
    return _failed(request, TuwenError("something went wrong on our side; the request id is in our log"))


HANDLERS: Mapping[type[Exception], Handler] = {
    TuwenError: tuwen_error,
    RequestValidationError: invalid_field,
    HTTPException: http_exception,
    ClientDisconnect: gone,
    Exception: unexpected,
}


def _failed(request: Request, error: TuwenError, headers: Mapping[str, str] | None = None) -> Response:
    request.state.error = error.code  # for the access line and the record
    return error_response(request.state.request_id, error, headers)


def _wrong_method(request: Request) -> Response:
    methods = allowed(request.app, request.scope)
    headers = {"Allow": ", ".join(methods)}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    message = f"{quoted(request.url.path)} does not take {quoted(request.method)}: use {', '.join(methods)}"
    return _failed(request, MethodNotAllowed(message), headers)


def _nothing_there(request: Request) -> str:
    path = request.scope["path"]
    tidy = re.sub("/+", "/", path).rstrip("/")
    meant = tidy != path and allowed(request.app, {**request.scope, "path": tidy})
    hint = (
        f"did you mean {quoted(tidy)}?"
        if meant
        else f"the paths that there are stand at {request.scope.get('root_path', '')}/docs"
    )
    return f"there is nothing at {quoted(path)}: {hint}"
