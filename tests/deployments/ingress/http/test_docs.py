"""``/docs`` loads nothing from elsewhere, and runs nothing but its own."""

import re
from base64 import b64encode
from hashlib import sha256
from urllib.parse import urljoin

import pytest

from deployments.ingress.http.docs import FILES, PAGE, START


def test_the_page_names_only_our_own_addresses_whatever_the_prefix(service):
    page = service.client.get("/docs").text
    assert page == PAGE
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page) + re.findall(r'url: "([^"]*)"', page)
    assert sorted(loaded) == ["data:,", "docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "openapi.json"]
    for prefix in ("", "/tuwen", "/outer/tuwen"):
        assert urljoin(f"http://h{prefix}/docs", "docs/swagger-ui.css") == f"http://h{prefix}/docs/swagger-ui.css"
        assert urljoin(f"http://h{prefix}/docs", "openapi.json") == f"http://h{prefix}/openapi.json"


def test_the_policy_lets_in_the_page_s_own_script_and_no_other(service):
    policy = service.client.get("/docs").headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'self' 'sha256-{b64encode(sha256(START.encode()).digest()).decode()}'"
    assert re.findall(r"<script>(.*?)</script>", PAGE, re.DOTALL) == [START]
    assert "http" not in policy
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"


@pytest.mark.parametrize("name", FILES)
def test_its_files_are_ours_and_may_be_kept(service, name):
    response = service.client.get(f"/docs/{name}")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(FILES[name])
    assert response.headers["cache-control"] == "max-age=86400"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert len(response.content) > 10_000


@pytest.mark.parametrize(
    "name", ["favicon.png", "redoc.standalone.js", "..%2F__init__.py", "%2e%2e/__init__.py", "", "a%00"]
)
def test_no_other_file_is_given(service, name):
    assert service.client.get(f"/docs/{name}", follow_redirects=False).status_code == 404


def test_fastapi_s_own_pages_which_load_from_elsewhere_are_off(service):
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert service.client.get(path).status_code == 404


def test_the_description_names_the_prefix_and_no_other_server(service):
    servers = service.client.get("/openapi.json").json().get("servers", [])
    assert servers == [{"url": "/tuwen"}] * (service.client.base_url.path == "/tuwen/")
