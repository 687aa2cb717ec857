"""HTTP as programs expect it: HEAD, OPTIONS, ``Allow``, odd paths, and what monitoring and load testers ask first."""

from hashlib import sha256
from importlib.metadata import version

import pytest
from starlette.testclient import TestClient

from deployments.errors import TuwenError

READABLE = [
    "/",
    "/healthz",
    "/health",
    "/version",
    "/v1/models",
    "/v1/models/tuwen-test",
    "/samples",
    "/docs",
    "/openapi.json",
]


@pytest.mark.parametrize("path", READABLE)
def test_head_is_get(service, path):
    got, headed = service.client.get(path), service.client.head(path)
    assert headed.status_code == got.status_code == 200
    assert headed.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        *((path, "GET, HEAD, OPTIONS") for path in (*READABLE, "/v1/requests/x", "/samples/x", "/v1/models/a/b")),
        ("/v1/ask", "POST, OPTIONS"),
        ("/chat", "POST, OPTIONS"),
        ("/v1/chat/completions", "POST, OPTIONS"),
    ],
)
def test_every_wrong_method_is_told_the_right_ones(service, path, allow):
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        if method in allow:
            continue
        response = service.client.request(method, path)
        assert (response.status_code, response.headers["Allow"]) == (405, allow)
        if method != "HEAD":
            assert response.json()["error"]["code"] == "method_not_allowed"
    options = service.client.options(path)
    assert (options.status_code, options.headers["Allow"], options.text) == (204, allow, "")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
def test_there_is_nothing_at_an_unknown_path_by_any_method(service, method):
    assert service.client.request(method, "/nope").status_code == 404


@pytest.mark.parametrize(
    ("path", "meant"), [("/v1/ask/", "/v1/ask"), ("/v1//ask", "/v1/ask"), ("/healthz//", "/healthz")]
)
def test_a_slash_too_many_is_told(service, path, meant):
    response = service.client.post(path, follow_redirects=False)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert f"{meant}`?" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/%ED%A0%80", "/v1/requests/%ED%A0%80%00%0a", "/samples/%ff", "/" + "x" * 8000, "/v1/models/%e2%80%ae"]
)
def test_odd_bytes_in_a_path_are_answered_in_printable_words(service, path):
    response = service.client.get(path)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (404, "not_found")
    assert error["message"].isprintable()
    assert len(error["message"]) < 300


def test_health_says_whether_it_is_ready(service):
    response = service.client.get("/health")
    assert (response.status_code, response.json()) == (200, {"ready": True})


def test_health_is_503_while_the_model_is_away(service):
    service.model.info_faults = [TuwenError("not yet")]
    response = service.client.get("/health")
    assert (response.status_code, response.json()) == (503, {"ready": False, "reason": "not yet"})


def test_health_asks_the_model_no_more_than_it_has_to(service):
    asked = 0
    told = service.model.info

    async def info():
        nonlocal asked
        asked += 1
        return await told()

    service.pipeline.watch._ask = info
    for _ in range(20):
        assert service.client.get("/health").status_code == 200
    assert asked == 1


def test_the_version_is_the_package_s(service):
    assert service.client.get("/version").json() == {"version": version("tuwen"), "model": "tuwen-test"}


def test_under_a_prefix_its_bare_name_leads_to_the_page_whatever_the_host(service):
    client = TestClient(service.client.app, base_url="http://localhost", root_path="/a/tuwen")
    assert "at /a/tuwen/docs" in client.get("/a/tuwen/nope").json()["error"]["message"]
    assert "`/a/tuwen/v1/ask`" in client.post("/a/tuwen/v1/ask/").json()["error"]["message"]
    service.knobs(api_key_sha256=(sha256(b"key").hexdigest(),))
    response = client.get("/a/tuwen", follow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (307, "tuwen/")
    assert client.get("/a/tuwen").headers["content-type"].startswith("text/html")
