"""The HTTP application: surfaces, middleware, and the one place where errors become responses."""

import logging
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from deployments.errors import MethodNotAllowed, NotFound, RequestError, TuwenError, Unauthorized
from deployments.ingress.http import docs, openai, page, rest
from deployments.ingress.http.body import BodyGuard
from deployments.ingress.http.middleware import RequestContext
from deployments.ingress.http.origin import OwnPagesOnly
from deployments.ingress.http.responses import error_response, told
from deployments.ingress.http.routes import check_stranger, public_routes
from deployments.ingress.pipeline import Pipeline

logger = logging.getLogger("ray.serve")


def create_app(pipeline: Pipeline, samples_folder: Path | None = None) -> ASGIApp:
    """The ASGI application over a pipeline. Plain Starlette: it runs under Serve, uvicorn and a test client alike."""
    app = FastAPI(
        title="Tuwen",
        description="Answers a question about a picture. Every failure is "
        '`{"error": {"code", "message", "request_id"}}`.',
        version="1",
        docs_url=None,  # FastAPI's own load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # which would tell strangers what there is
    )
    app.state.pipeline = pipeline
    app.state.samples_folder = samples_folder
    app.state.samples = page.read_index(samples_folder)
    routers = [*rest.routers, *openai.routers, *page.routers, *docs.routers]
    app.state.public_routes = (*public_routes(routers), page.BARE)
    for router in routers:
        app.include_router(router)
    app.router.routes.append(page.BARE)
    app.add_exception_handler(TuwenError, _tuwen_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(BodyGuard)
    app.add_middleware(OwnPagesOnly)  # the last one added is the first one asked
    return RequestContext(app, pipeline)


def _failed(request: Request, error: TuwenError) -> Response:
    request.state.error = error.code  # for the access line and the record
    return error_response(request.state.request_id, error)


async def _tuwen_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TuwenError)
    return _failed(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _failed(request, RequestError(told(error.errors())))


async def _http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: unknown paths, wrong methods, bodies that cannot be parsed."""
    assert isinstance(error, HTTPException)
    kind = {404: NotFound, 405: MethodNotAllowed}.get(error.status_code, RequestError)
    try:
        check_stranger(request)
    except Unauthorized as refusal:
        return _failed(request, refusal)
    return _failed(request, kind(f"{request.method} {request.url.path}: {error.detail}"))


async def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("request %s failed", request.state.request_id, exc_info=error)
    return _failed(request, TuwenError("something went wrong on our side; the request id is in our log"))
