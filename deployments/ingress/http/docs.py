"""OpenAPI for people, at ``/docs``: Swagger UI from our own files, since what it loads could read the page's key."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse

from deployments.errors import NotFound
from deployments.ingress.http.methods import answer_head
from deployments.ingress.http.routes import PublicRoute
from deployments.texts import quoted

STATIC = files("fastapi_offline") / "static"
FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

# Addresses are relative, so that they hold under any prefix. The script's text is fixed, so that its hash can be named.
START = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", deepLinking: true, '
    "presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset]})"
)
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tuwen API</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="docs/swagger-ui-bundle.js"></script><script>{START}</script></body></html>
"""
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src 'self' 'sha256-{b64encode(sha256(START.encode()).digest()).decode()}'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(route_class=PublicRoute, include_in_schema=False)
routers = (router,)


@router.get("/docs")
async def docs() -> Response:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    if name not in FILES:
        raise NotFound(f"there is no file {quoted(name)}")
    return FileResponse(str(STATIC / name), media_type=FILES[name], headers={"Cache-Control": "max-age=86400"})


answer_head(router)
