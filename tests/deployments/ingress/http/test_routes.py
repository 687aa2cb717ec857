"""Who may call what: keys belong to routes, and no way of writing a path leads around them."""

import asyncio
import hashlib
import re

import pytest
from fastapi import APIRouter

from deployments.ingress.http.routes import KeyedRoute, public_routes, tenant_of

from ..conftest import Service, served
from .asgi import ASKING, FORM, Sent, body_of, call, call_unread, receiving, scope_of

KEY = "钥匙-é-secret"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
AUTHORIZATION = ("Authorization", f"Bearer {KEY}".encode().decode("latin-1"))  # as it is on the wire
PREFIXES = ["", "/tuwen", "/outer/tuwen"]  # the last one: http_options.root_path and route_prefix
PUBLIC_PATHS = {
    "/",
    "",
    "/samples",
    "/samples/{name}",
    "/docs",
    "/docs/{name}",
    "/healthz",
    "/health",
    "/version",
    "/live",
}


@pytest.fixture
def service() -> Service:
    """Its scopes are written by hand, prefix and all."""
    return served("")


@pytest.fixture
def keyed(service):
    service.knobs(api_key_sha256=(DIGEST,))
    return service


def asked(service, method, path, *headers, root_path="", body=b"") -> Sent:
    scope = scope_of(method, path, headers, root_path)
    return asyncio.run(call(service.client.app, scope, receiving(body_of(body))))


def leaves(routes):
    """The routes of routers that are in routers."""
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        yield from leaves(inner) if inner is not None else [route]


def test_every_route_is_keyed_but_the_public_ones(service):
    routes = list(leaves(service.client.app.app.routes))
    paths = {route.path for route in routes if not isinstance(route, KeyedRoute)}
    assert paths - {"/openapi.json"} <= PUBLIC_PATHS
    assert {"/v1/ask", "/chat", "/v1/chat/completions", "/v1/models", "/v1/requests/{request_id}"} <= {
        route.path for route in routes if isinstance(route, KeyedRoute)
    }


def test_a_router_that_does_not_say_who_may_call_it_is_refused():
    router = APIRouter()
    router.add_api_route("/v1/new", lambda: None)
    with pytest.raises(TypeError, match="neither keyed nor public"):
        public_routes([router])


@pytest.mark.parametrize("root_path", PREFIXES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("HEAD", "/v1/models"),
        ("GET", "/v1/models/"),
        ("GET", "//v1/models"),
        ("GET", "/v1//models"),
        ("GET", "/./v1/models"),
        ("GET", "/healthz/../v1/models"),
        ("GET", "/v1/models?key=x"),
        ("GET", "/V1/MODELS"),
        ("GET", "/v1/requests/abc"),
        ("GET", "/v1/requests/"),
        ("DELETE", "/v1/requests/abc"),
        ("OPTIONS", "/v1/ask"),
        ("GET", "/v1/ask"),
        ("PUT", "/v1/ask"),
        ("POST", "/v1/ask/"),
        ("POST", "/v1/ask"),
        ("POST", "/chat"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/openapi.json"),
        ("GET", "/docs/a/b"),
        ("GET", "/redoc"),
        ("GET", "/unknown"),
        ("GET", "/tuwen/v1/models"),
        ("BREW", "/v1/models"),
    ],
)
def test_without_a_key_a_stranger_learns_nothing(keyed, root_path, method, path):
    sent = asked(keyed, method, path, root_path=root_path)
    assert sent.status == 401
    assert sent.headers["www-authenticate"] == "Bearer"
    assert method == "HEAD" or sent.error["code"] == "unauthorized"


@pytest.mark.parametrize("root_path", PREFIXES)
def test_with_the_key_the_surface_is_the_same_under_every_prefix(keyed, root_path):
    answered = asked(keyed, "POST", "/v1/ask", AUTHORIZATION, FORM, root_path=root_path, body=ASKING)
    assert (answered.status, b"echo what is it?" in answered.body) == (200, True)
    for path in ("/v1/models", "/healthz", "/samples", "/docs", "/openapi.json", "/"):
        assert asked(keyed, "GET", path, AUTHORIZATION, root_path=root_path).status == 200, path
    assert asked(keyed, "GET", "/unknown", AUTHORIZATION, root_path=root_path).refusal == (404, "not_found")
    assert asked(keyed, "PUT", "/v1/ask", AUTHORIZATION, root_path=root_path).refusal == (405, "method_not_allowed")


@pytest.mark.parametrize("root_path", PREFIXES)
@pytest.mark.parametrize("path", ["/", "/healthz", "/samples", "/docs", "/docs/swagger-ui.css", "/openapi.json"])
def test_public_ones_ask_for_no_key(keyed, root_path, path):
    assert asked(keyed, "GET", path, root_path=root_path).status == 200


def test_the_prefix_without_its_slash_leads_to_the_page_whatever_host_is_in_front(keyed):
    sent = asked(keyed, "GET", "", ("Host", "localhost:1"), root_path="/outer/tuwen")
    assert (sent.status, sent.headers["location"]) == (307, "tuwen/")


def test_a_path_beside_the_prefix_is_not_under_it(keyed):
    scope = scope_of("GET", "/tuwen2/v1/models") | {"root_path": "/tuwen"}
    assert asyncio.run(call(keyed.client.app, scope)).status == 401


def test_a_bad_key_is_told_before_the_body_is_read(keyed):
    scope = scope_of("POST", "/v1/ask", [FORM, ("Content-Length", "9" * 30)])
    sent = asyncio.run(call_unread(keyed.client.app, scope))
    assert sent.refusal == (401, "unauthorized")
    assert sent.headers["connection"] == "close", "or a stranger's upload would hold it"


@pytest.mark.parametrize(
    ("header", "fits"),
    [
        (f"Bearer {KEY}", True),
        (f"bearer   {KEY}  ", True),
        (f"Bearer {KEY}x", False),
        (f"Bearer {DIGEST}", False),
        (f"Basic {KEY}", False),
        (f"Bearer,{KEY}", False),
        (KEY, False),
        ("Bearer", False),
        ("", False),
    ],
)
def test_a_key_is_the_bytes_that_were_sent(header, fits):
    other = hashlib.sha256(b"other").hexdigest()
    sent = header.encode().decode("latin-1")
    assert tenant_of(sent, (other, DIGEST)) == (DIGEST if fits else None)


def test_two_keys_in_two_headers_are_none(keyed):
    sent = asked(keyed, "GET", "/v1/models", ("Authorization", "Bearer wrong"), AUTHORIZATION)
    assert sent.status == 401


def test_keys_that_change_hold_from_the_next_request_on(keyed):
    assert asked(keyed, "GET", "/v1/models", AUTHORIZATION).status == 200
    keyed.knobs(api_key_sha256=(hashlib.sha256(b"new").hexdigest(),))
    assert asked(keyed, "GET", "/v1/models", AUTHORIZATION).status == 401


def test_the_page_asks_only_beside_its_own_address(service):
    """So that it works under every prefix; that it does is tested in a browser."""
    page = asked(service, "GET", "/").body.decode()
    places = re.findall(r"fetch\((\w+)", page)
    assert places
    assert set(places) <= {"address", "sampleAddress"}
    assert not re.findall(r"address\([\"'`]/", page)
    assert not re.findall(r"(?:href|src|action)\s*=\s*[\"']?/", page)
