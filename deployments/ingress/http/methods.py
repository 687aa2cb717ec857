"""The methods of HTTP that no route is written for: HEAD wherever there is GET, OPTIONS and ``Allow`` everywhere."""

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def answer_head(router: APIRouter) -> None:
    """Adds HEAD to the router's GET routes, unseen in the schema. Servers leave the body out, as HTTP asks."""
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            router.add_api_route(
                route.path,
                route.endpoint,
                methods=["HEAD"],
                include_in_schema=False,
                dependencies=route.dependencies,
                response_model=None,
            )


def allowed(app: FastAPI, scope: Scope) -> list[str]:
    """The methods that there are routes for at the scope's path; none where there is nothing."""
    asked = [{**scope, "method": method} for method in METHODS]
    found = [one["method"] for one in asked if any(route.matches(one)[0] is Match.FULL for route in app.router.routes)]
    return [*found, "OPTIONS"] if found else []
