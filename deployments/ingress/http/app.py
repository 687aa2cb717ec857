"""The HTTP application: surfaces, middleware, and the one place where errors become responses."""

import logging
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from deployments.errors import MethodNotAllowed, NotFound, RequestError, TuwenError
from deployments.ingress.http import openai, page, rest
from deployments.ingress.http.auth import RequireKey
from deployments.ingress.http.middleware import BodyLimit, RequestContext
from deployments.ingress.http.responses import error_response
from deployments.ingress.pipeline import Pipeline

logger = logging.getLogger("ray.serve")


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
    app.add_middleware(BodyLimit)
    app.add_middleware(RequireKey)  # the last one added is the first one asked
    return RequestContext(app)


async def _tuwen_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TuwenError)
    return error_response(request.state.request_id, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    cause = error.errors()[0]
    where = ".".join(str(part) for part in cause["loc"] if part != "body")
    return error_response(request.state.request_id, RequestError(f"{where or 'body'}: {cause['msg']}"))


async def _http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: unknown paths, wrong methods, multipart bodies that cannot be parsed."""
    assert isinstance(error, HTTPException)
    kind = {404: NotFound, 405: MethodNotAllowed}.get(error.status_code, RequestError)
    return error_response(request.state.request_id, kind(f"{request.method} {request.url.path}: {error.detail}"))


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("request %s failed", request.state.request_id, exc_info=error)
    return error_response(
        request.state.request_id, TuwenError("something went wrong on our side; the request id is in our log")
    )
