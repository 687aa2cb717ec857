"""The HTTP application: surfaces, middleware, and what becomes of errors."""

import time
from pathlib import Path

from fastapi import APIRouter
from starlette.types import ASGIApp

from deployments.ingress.burst import Bursts
from deployments.ingress.http import docs, faults, live, page, rest
from deployments.ingress.http.border.body import BodyGuard
from deployments.ingress.http.border.head import HeadGuard
from deployments.ingress.http.border.middleware import RequestContext
from deployments.ingress.http.border.origin import OwnPagesOnly
from deployments.ingress.http.border.unread import UnreadBodies
from deployments.ingress.http.openai import routes as openai
from deployments.ingress.http.openapi import DescribedApp
from deployments.ingress.http.routes import public_routes
from deployments.ingress.models import Models
from deployments.ingress.pipeline import Pipeline


def create_app(
    pipeline: Pipeline,
    samples_folder: Path | None = None,
    others: tuple[APIRouter, ...] = (),
    beside: tuple[Pipeline, ...] = (),
) -> ASGIApp:
    """The ASGI application over a pipeline, those ``beside`` it, and the ``others`` of chat platforms.

    Plain Starlette: it runs under Serve, uvicorn and a test client alike."""
    app = DescribedApp(
        title="Tuwen",
        description="Answers a question about a picture. Every failure is "
        '`{"error": {"code", "message", "request_id"}}`.',
        version="1",
        docs_url=None,  # FastAPI's own load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect has no error shape, and most programs do not follow it with a body
    )
    app.state.pipeline, app.state.models = pipeline, Models(pipeline, *beside)
    app.state.samples_folder = samples_folder
    app.state.samples = page.read_index(samples_folder)
    app.state.bursts, app.state.watchers = Bursts(pipeline.ask, time.time), live.Watchers()
    routers = [*rest.routers, *openai.routers, *live.routers, *page.routers, *docs.routers, *others]
    app.state.public_routes = (*public_routes(routers), page.BARE)
    for router in routers:
        app.include_router(router)
    app.router.routes.append(page.BARE)
    faults.register(app)
    app.add_middleware(BodyGuard)
    app.add_middleware(OwnPagesOnly)
    app.add_middleware(HeadGuard)
    app.add_middleware(UnreadBodies)  # the last one added is the first one asked
    return RequestContext(app, pipeline)
