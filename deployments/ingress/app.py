"""The HTTP application: surfaces, middleware, and the one place where errors become responses."""

import logging
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from deployments.errors import MethodNotAllowed, NotFound, RequestError, TuwenError, UnsupportedMediaType
from deployments.ingress import openai, page, rest
from deployments.ingress.middleware import BodyLimit, RequestContext
from deployments.ingress.pipeline import Pipeline

logger = logging.getLogger("ray.serve")

FORM_PATHS = ("/v1/ask", "/chat")


def create_app(pipeline: Pipeline, samples_folder: Path | None = None) -> ASGIApp:
    """The ASGI application over a pipeline. Plain Starlette: it runs under Serve, uvicorn and a test client alike."""
    app = FastAPI(
        title="Tuwen",
        description="Answers a question about a picture. Every failure is "
        '`{"error": {"code", "message", "request_id"}}`.',
        version="1",
        redoc_url=None,
    )
    app.state.pipeline = pipeline
    app.state.samples_folder = samples_folder
    app.state.samples = page.read_index(samples_folder)
    for module in (rest, openai, page):
        app.include_router(module.router)
    app.add_exception_handler(TuwenError, _tuwen_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)
    app.middleware("http")(_demand_form)
    app.add_middleware(BodyLimit)
    return RequestContext(app)


def error_response(request: Request, error: TuwenError) -> JSONResponse:
    """The one JSON shape of every failure."""
    body = {"code": error.code, "message": error.message, "request_id": request.state.request_id}
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return JSONResponse({"error": body}, status_code=error.status, headers=headers)


async def _tuwen_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TuwenError)
    return error_response(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    cause = error.errors()[0]
    where = ".".join(str(part) for part in cause["loc"] if part != "body")
    return error_response(request, RequestError(f"{where or 'body'}: {cause['msg']}"))


async def _http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: unknown paths, wrong methods, multipart bodies that cannot be parsed."""
    assert isinstance(error, HTTPException)
    kind = {404: NotFound, 405: MethodNotAllowed}.get(error.status_code, RequestError)
    return error_response(request, kind(f"{request.method} {request.url.path}: {error.detail}"))


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("request %s failed", request.state.request_id, exc_info=error)
    return error_response(request, TuwenError("something went wrong on our side; the request id is in our log"))


async def _demand_form(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Response:
    """Say so when a form is posted as something else; FastAPI would only call its fields missing."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and request.url.path in FORM_PATHS and kind != "multipart/form-data":
        error = UnsupportedMediaType(f"send multipart/form-data (got {kind or 'no content type'})")
        return error_response(request, error)
    response: Response = await call_next(request)
    return response
