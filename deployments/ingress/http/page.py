"""The page at ``/`` and its sample pictures."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse

from deployments.errors import NotFound
from deployments.ingress.http.methods import answer_head
from deployments.ingress.http.routes import PublicRoute
from deployments.texts import quoted

PAGE = Path(__file__).parent / "page.html"
INDEX = "samples.json"

# Everything is inline in the one file; nothing may come from, or go to, anywhere else.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(route_class=PublicRoute, include_in_schema=False)
routers = (router,)


@router.get("/")
async def page() -> Response:
    return HTMLResponse(_page(), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/samples")
async def samples(request: Request) -> Response:
    """``[{"file", "title", "questions": […]}]``; empty where no samples are configured."""
    shown = ("file", "title", "questions")
    return JSONResponse([{key: sample[key] for key in shown} for sample in request.app.state.samples])


@router.get("/samples/{name}")
async def sample(request: Request, name: str) -> Response:
    for entry in request.app.state.samples:
        if entry["file"] == name:  # only files in the index are served: no path is ever built from the request
            return FileResponse(request.app.state.samples_folder / entry["file"])
    raise NotFound(f"there is no sample {quoted(name)}")


def read_index(folder: Path | None) -> Sequence[dict[str, Any]]:
    """The sample index of a folder (``samples.json``); empty without a folder or an index."""
    if folder is None or not (folder / INDEX).is_file():
        return []
    index: list[dict[str, Any]] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return index


async def _beside_nothing(request: Request) -> Response:
    """From the prefix without its slash to the page, whose addresses are beside its own; also behind another's door."""
    return RedirectResponse(quote(request.scope["root_path"].rpartition("/")[2]) + "/")


BARE = PublicRoute("", _beside_nothing, methods=["GET", "HEAD"], include_in_schema=False)


@cache
def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


answer_head(router)
