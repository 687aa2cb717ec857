"""What a stranger's request looks like to Ray: without what only Ray may say, and with an id that is fit."""

import asyncio
import re

import pytest

from deployments.ingress.http.border.proxy import RAYS_OWN, PacedBodies, StrangersHeaders, cleaned, middlewares
from deployments.ingress.http.border.request_ids import is_request_id, request_id_of

UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.mark.parametrize("name", sorted(RAYS_OWN))
@pytest.mark.parametrize(
    "spelt",
    [bytes, bytes.upper, bytes.title, lambda name: name.replace(b"-", b"_"), lambda name: name.replace(b"-", b"_", 1)],
)
def test_ray_s_own_headers_are_taken_off_however_they_are_spelt(name, spelt):
    kept = cleaned([(b"host", b"a"), (spelt(name), b"0"), (spelt(name), b"1"), (b"accept", b"*/*")])
    assert kept[:-1] == [(b"host", b"a"), (b"accept", b"*/*")]


def test_the_names_are_the_ones_that_ray_reads():
    from ray.serve._private import constants as serve

    named = (
        serve.SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
        serve.SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
        serve.SERVE_MULTIPLEXED_MODEL_ID,
        serve.SERVE_SESSION_ID,
    )
    assert {name.lower().replace("_", "-").encode() for name in named} == RAYS_OWN


def test_all_else_stays_as_it_came_in_its_order():
    headers = [
        (b"Host", b"a"),
        (b"X-Request", b"\xff"),
        (b"cookie", b"a"),
        (b"cookie", b"b"),
        (b"x_forwarded_for", b"c"),
    ]
    assert cleaned(headers)[:-1] == headers


@pytest.mark.parametrize("given", [b"a", b"abc-1", b"A.b_c:d-9", b"x" * 128, b"6f1d"])
@pytest.mark.parametrize("name", [b"x-request-id", b"X-Request-ID", b"X-REQUEST-ID"])
def test_a_fit_request_id_stays(name, given):
    assert cleaned([(name, given)]) == [(b"x-request-id", given)]


@pytest.mark.parametrize(
    "given",
    [
        [], [b""], [b"a b"], [b"x" * 129], [b"a\tb"], [b"a\r\nSet-Cookie: x"], [b"\xff"], ["号".encode()], [b"a/b"], [b"../a"],
        [b"a%0a"], [b"{}"], [b"a", b"b"], [b"a", b"a"], [b"a,b"], [b"a\n"], [b"a" * 10**6],
    ],
)  # fmt: skip
def test_an_unfit_missing_or_repeated_one_is_replaced(given):
    kept = cleaned([(b"x-request-id", value) for value in given])
    assert len(kept) == 1
    assert UUID.fullmatch(kept[0][1])


def test_every_request_without_an_id_gets_its_own():
    assert cleaned([]) != cleaned([])


def passed_on(scope: dict) -> dict:
    seen: list[dict] = []

    async def app(scope, receive, send) -> None:
        seen.append(scope)

    asyncio.run(StrangersHeaders(app)(scope, None, None))  # type: ignore[arg-type]
    return seen[0]


def test_http_and_websocket_are_cleaned_and_the_caller_s_scope_stays_as_it_was():
    for kind in ("http", "websocket"):
        scope = {"type": kind, "path": "/", "headers": [(b"x-request-timeout-seconds", b"0")]}
        assert [name for name, _ in passed_on(scope)["headers"]] == [b"x-request-id", b"x-tuwen-arrived"]
        assert scope["headers"] == [(b"x-request-timeout-seconds", b"0")]


def test_a_lifespan_is_untouched():
    scope = {"type": "lifespan", "asgi": {}}
    assert passed_on(scope) is scope


def test_serve_is_given_what_it_wraps_around_its_own():
    assert [entry.cls for entry in middlewares()] == [PacedBodies, StrangersHeaders]


def test_a_body_goes_through_unchanged():
    messages = [{"type": "http.request", "body": bytes([n]) * 1000, "more_body": n < 9} for n in range(10)]

    async def app(scope, receive, send):
        for message in messages:
            assert await receive() == message

    waiting = list(messages)

    async def receive():
        return waiting.pop(0)

    asyncio.run(PacedBodies(app)({"type": "http"}, receive, None))


def test_an_id_is_the_caller_s_where_it_is_fit_to_be_logged():
    assert request_id_of("a.b") == "a.b"
    assert is_request_id(request_id_of("a\nb"))
    assert not any(is_request_id(text) for text in ("", "a b", "é", "a\n", "٣"))
