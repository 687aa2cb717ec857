"""Headers that no client needs are refused before anything reads them."""

import asyncio

import pytest

from deployments.ingress.http.border.head import HEADER_OVERHEAD_BYTES, MAX_HEAD_BYTES

from ...conftest import Service, served
from ..asgi import ASKING, FORM, body_of, call, receiving, scope_of


@pytest.fixture
def service() -> Service:
    return served("")


def asked(service, *headers):
    scope = scope_of("POST", "/v1/ask", [FORM, ("X-Request-ID", "id"), *headers])
    taken = sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in scope["headers"])
    return lambda size: asyncio.run(
        call(
            service.client.app,
            scope | {"headers": [*scope["headers"], (b"x-more", b"y" * (size - taken - HEADER_OVERHEAD_BYTES - 6))]},
            receiving(body_of(ASKING)),
        )
    )


def test_the_limit_is_exact(service):
    assert asked(service)(MAX_HEAD_BYTES).status == 200
    sent = asked(service)(MAX_HEAD_BYTES + 1)
    assert sent.refusal == (431, "headers_too_large")
    assert (sent.headers["connection"], sent.error["request_id"]) == ("close", "id")


@pytest.mark.parametrize(
    "name", ["Cookie", "Authorization", "Origin", "Host", "Content-Type", "Content-Length", "X-Request-ID", "X"]
)
def test_none_may_be_longer_than_all(service, name):
    scope = scope_of("GET", "/healthz", [(name, "9" * MAX_HEAD_BYTES)])
    assert asyncio.run(call(service.client.app, scope)).refusal == (431, "headers_too_large")


def test_nor_may_there_be_more_than_fit(service):
    scope = scope_of("GET", "/healthz", [("a", "")] * 3000)
    assert asyncio.run(call(service.client.app, scope)).refusal == (431, "headers_too_large")
