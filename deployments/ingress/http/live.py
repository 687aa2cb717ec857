"""The live panel at ``/live``, what it shows (``/v1/load``), and its burst."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from deployments.contract import Flow
from deployments.errors import NotFound, Overloaded, TuwenError
from deployments.ingress.burst import MOST, Bursts, samples
from deployments.ingress.http.methods import answer_head
from deployments.ingress.http.openapi import EVENTS, KEYED, Responses, failures
from deployments.ingress.http.page import CONTENT_SECURITY_POLICY
from deployments.ingress.http.routes import KeyedRoute, PublicRoute
from deployments.ingress.pipeline import Pipeline

PAGE = Path(__file__).parent / "live.html"
STREAM_S = 45.0
"""A stream ends after so long, and whoever watches asks anew: Serve's own limit on a request would break it off."""
WATCHERS = 16
"""Streams of one replica at a time: each holds a place among its requests."""

keyed = APIRouter(route_class=KeyedRoute)
pages = APIRouter(route_class=PublicRoute, include_in_schema=False)
routers = (keyed, pages)

LOAD: Responses = {200: {"description": "the load now; events with `Accept: text/event-stream`", "content": EVENTS}}


class Watchers:
    """How many streams there are."""

    def __init__(self) -> None:
        self.count = 0

    def demand_room(self) -> None:
        """Raises Overloaded."""
        if self.count >= WATCHERS:
            raise Overloaded(f"{WATCHERS} watch already: ask for /v1/load without a stream", STREAM_S)


@keyed.get("/v1/load", responses=LOAD | failures(*KEYED, Overloaded))
async def load(request: Request) -> Response:
    """What this ingress replica sees of the service's load.

    As JSON, the present; as server-sent events, the last five minutes second by second, then each second as it ends.
    """
    pipeline: Pipeline = request.app.state.pipeline
    if "text/event-stream" not in request.headers.get("accept", ""):
        return JSONResponse(pipeline.traffic.now())
    watchers: Watchers = request.app.state.watchers
    watchers.demand_room()
    return StreamingResponse(
        events(pipeline, watchers), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


@keyed.post("/v1/load/burst", responses=failures(*KEYED, NotFound, Overloaded))
async def burst(request: Request, count: int = Query(120, ge=1, le=MOST)) -> Response:
    """Send the service a burst of sample questions, if its operator lets anyone (`live_burst`)."""
    state, pipeline = request.app.state, request.app.state.pipeline
    if not pipeline.knobs.live_burst or not state.samples:
        raise NotFound("no bursts here: the operator's knob `live_burst`, and samples, allow them")
    bursts: Bursts = state.bursts
    sent = bursts.send(samples(state.samples_folder, state.samples), count, Flow(request.state.tenant))
    return JSONResponse({"sent": sent})


async def events(pipeline: Pipeline, watchers: Watchers, clock: Callable[[], float] = time.time) -> AsyncGenerator[str]:
    """Each second once it is over, with the present; the first event has all that is remembered."""
    watchers.count += 1
    try:
        ends, since = clock() + STREAM_S, 0
        while (now := clock()) < ends:
            with suppress(TuwenError):  # whoever is away is seen by his silence
                await pipeline.watch.info()
            told = [second for second in pipeline.traffic.seconds(since) if second["at"] < int(now)]
            since = int(now)
            yield _event({"now": pipeline.traffic.now(), "seconds": told, "burst": pipeline.knobs.live_burst})
            await asyncio.sleep(1 - now % 1)
    finally:
        watchers.count -= 1


@pages.get("/live")
async def page() -> Response:
    return HTMLResponse(_page(), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@cache
def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


for router in routers:
    answer_head(router)
