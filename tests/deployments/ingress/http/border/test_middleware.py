"""What every request leaves behind: an id, an access line, safe headers, and a record of each question, however it ended."""

import asyncio
import hashlib
import logging
import re
from contextlib import suppress

import pytest
from starlette.types import Message

from deployments.contract import PUBLIC
from deployments.errors import Overloaded
from deployments.ingress.http.app import create_app

from ...conftest import Service, served
from ..asgi import ASKING, FORM, HUNG_UP, Sent, body_of, call, form, part, receiving, scope_of

KEEPS_ON = ("X-Request-Disconnect-Disabled", "?1")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def service() -> Service:
    """Its scopes are written by hand, prefix and all."""
    return served("")


def ask(service, *headers, body=ASKING, then=()) -> Sent:
    scope = scope_of("POST", "/v1/ask", [FORM, ("X-Request-ID", "id"), *headers])
    return asyncio.run(call(service.client.app, scope, receiving([*body_of(body), *then])))


def record(service, tenant=PUBLIC, request_id="id"):
    return asyncio.run(service.pipeline.records.get(tenant, request_id))


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "ray.serve")
    return lambda: [entry.getMessage() for entry in caplog.records if entry.levelno == logging.INFO]


def test_one_line_a_request_says_method_path_status_code_and_time(service, lines):
    for method, path in (("GET", "/healthz"), ("GET", "/none"), ("POST", "/v1/ask")):
        asyncio.run(call(service.client.app, scope_of(method, path)))
    patterns = [
        r"GET /healthz 200 \d+ ms",
        r"GET /none 404 not_found \d+ ms",
        r"POST /v1/ask 415 unsupported_media_type \d+ ms",
    ]
    assert len(lines()) == 3
    for line, pattern in zip(lines(), patterns, strict=True):
        assert re.fullmatch(pattern, line)


@pytest.mark.parametrize(
    "path", ["/a\nGET /forged 200 1 ms", "/\x1b[31m", "/号", "/" + "a" * 10_000, "/\x00", "/\u2028"]
)
def test_a_path_can_forge_no_line(service, lines, path):
    scope = scope_of("GET", "/") | {"path": path}
    asyncio.run(call(service.client.app, scope))
    (line,) = lines()
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 2100  # 200 characters, ten each at most
    assert line.startswith("GET /")


def test_every_answer_has_safe_headers_and_its_own_stay(service):
    for path in ("/", "/healthz", "/none", "/openapi.json"):
        headers = asyncio.run(call(service.client.app, scope_of("GET", path))).headers
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert headers["cache-control"] == "no-store"
    kept = asyncio.run(call(service.client.app, scope_of("GET", "/docs/swagger-ui.css"))).headers
    assert kept.getlist("cache-control") == ["max-age=86400"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "\xff", "../a", "a\x85b"])
def test_an_unfit_id_is_replaced_in_the_answer_and_in_the_record(service, given):
    scope = scope_of("POST", "/v1/ask", [FORM, ("X-Request-ID", given)])
    sent = asyncio.run(call(service.client.app, scope, receiving(body_of(b"--"))))
    assert UUID.fullmatch(sent.error["request_id"])
    assert record(service, request_id=sent.error["request_id"]).status == 400


REFUSED = [
    ("another kind of body", [("Content-Type", "text/plain")], ASKING, 415, "unsupported_media_type"),
    ("a form that cannot be read", [], b"--", 400, "invalid_request"),
    ("an unknown field", [], form(part('name="x"', b"y")), 400, "invalid_request"),
    ("no picture", [], form(part('name="question"', b"y")), 400, "image_missing"),
    ("a page elsewhere", [("Origin", "http://evil.com")], ASKING, 403, "origin_not_allowed"),
]


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_question_that_was_refused_leaves_a_record_once_its_tenant_is_known(service, headers, body, status, code):
    scope = scope_of(
        "POST",
        "/v1/ask",
        [*headers, *([] if headers[:1] and headers[0][0] == "Content-Type" else [FORM]), ("X-Request-ID", "id")],
    )
    assert asyncio.run(call(service.client.app, scope, receiving(body_of(body)))).refusal == (status, code)
    kept = record(service)
    if status == 403:
        assert kept is None
        return
    assert (kept.status, kept.error, kept.tenant, kept.model) == (status, code, PUBLIC, "tuwen-test")
    assert kept.timing_ms.total >= 0


def test_what_asks_no_question_leaves_none(service):
    for method, path in (
        ("GET", "/none"),
        ("POST", "/healthz"),
        ("GET", "/v1/models"),
        ("GET", "/v1/requests/id"),
        ("PUT", "/v1/ask"),
    ):
        asyncio.run(call(service.client.app, scope_of(method, path, [("X-Request-ID", "id")])))
    assert record(service) is None


def test_a_refused_key_leaves_none_and_no_fault(service, caplog):
    service.knobs(api_key_sha256=(hashlib.sha256(b"key").hexdigest(),))
    assert ask(service).refusal == (401, "unauthorized")
    assert not service.pipeline.records._records
    assert "Traceback" not in caplog.text


def test_an_unexpected_fault_leaves_a_record(service, lines):
    service.model.faults = [RuntimeError("inside")]
    with pytest.raises(RuntimeError):  # for the server, once it has been answered
        ask(service)
    assert (record(service).status, record(service).error) == (500, "internal")
    assert re.fullmatch(r"POST /v1/ask 500 internal \d+ ms", lines()[-1])


def test_a_fault_before_the_pipeline_leaves_one_too(service, monkeypatch):
    async def breaks(request, model):
        raise RuntimeError("inside")

    monkeypatch.setattr("deployments.ingress.http.rest.asked", breaks)
    with pytest.raises(RuntimeError):
        ask(service)
    assert (record(service).status, record(service).error) == (500, "internal")


def test_an_overload_leaves_its_own_record_and_no_second_one(service):
    service.model.faults = [Overloaded("full")]
    sent = ask(
        service,
        body=form(
            part('name="image"; filename="a"', b"x"),
            part('name="question"', b"x"),
            part('name="on_overload"', b"error"),
        ),
    )
    assert sent.refusal == (429, "overloaded")
    assert record(service).error == "overloaded"


async def started(service, *headers, messages, path="/v1/ask"):
    """A question that the model works on and never answers; its task, and whether that work still goes on."""
    working = asyncio.Event()
    given_up = asyncio.Event()

    async def forever() -> None:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    service.model.before_answer = forever
    scope = scope_of("POST", path, [FORM, ("X-Request-ID", "id"), *headers])
    receive, hang_up = hanging_up(messages)
    task = asyncio.ensure_future(call(service.client.app, scope, receive))
    await asyncio.wait((task, asyncio.ensure_future(working.wait())), return_when=asyncio.FIRST_COMPLETED)
    assert not task.done(), task.result()
    return task, given_up, hang_up


def hanging_up(messages):
    """The messages, and the end of the connection once the event is set."""
    gone, waiting = asyncio.Event(), list(messages)

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await gone.wait()
        return HUNG_UP

    return receive, gone


def test_a_cancelled_question_leaves_a_record(service, lines):
    async def scene() -> None:
        task, given_up, _ = await started(service, messages=body_of(ASKING))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert given_up.is_set()

    asyncio.run(scene())
    assert (record(service).status, record(service).error) == (499, "cancelled")
    assert re.fullmatch(r"POST /v1/ask 499 cancelled \d+ ms", lines()[-1])


def test_one_cancelled_while_its_body_arrives_leaves_one_too(service):
    async def scene() -> None:
        scope = scope_of("POST", "/v1/ask", [FORM, ("X-Request-ID", "id")])
        reading = asyncio.Event()

        async def receive() -> Message:
            reading.set()
            return await asyncio.Event().wait()  # type: ignore[return-value]

        task = asyncio.ensure_future(call(service.client.app, scope, receive))
        await reading.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert (record(service).status, record(service).error) == (499, "cancelled")


@pytest.mark.parametrize("value", ["?1", "?0", "", "true"])
def test_no_header_keeps_work_alive_when_its_client_has_hung_up(service, value):
    async def scene() -> None:
        task, given_up, hang_up = await started(service, (KEEPS_ON[0], value), messages=body_of(ASKING))
        hang_up.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        assert given_up.is_set()

    asyncio.run(scene())
    assert (record(service).status, record(service).error) == (499, "cancelled")


STREAMING = form(
    part('name="image"; filename="a"', b"x"), part('name="question"', b"hello"), part('name="stream"', b"true")
)


@pytest.mark.parametrize("headers", [(), (KEEPS_ON,)], ids=["without", "with"])
def test_streams_come_whole_with_that_header_as_without(service, headers):
    sent = ask(service, *headers, body=STREAMING)
    assert sent.status == 200
    assert sent.body.count(b'"delta"') == len("echo hello")
    assert sent.body.endswith(b"data: [DONE]\n\n")


def test_a_stream_that_has_not_begun_ends_when_its_client_hangs_up(service):
    async def scene() -> None:
        task, given_up, hang_up = await started(service, KEEPS_ON, messages=body_of(STREAMING))
        hang_up.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        assert given_up.is_set()

    asyncio.run(scene())
    assert (record(service).status, record(service).error) == (499, "cancelled")


def test_with_that_header_an_answer_is_the_same(service):
    assert b"echo what is it?" in ask(service, KEEPS_ON).body
    assert ask(service, KEEPS_ON, body=b"--").refusal == (400, "invalid_request")


KEYS = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("alice", "mallory")}


def test_no_tenant_reads_or_overwrites_another_s_record(service):
    service.knobs(api_key_sha256=tuple(KEYS.values()))

    def of(name):
        return ("Authorization", f"Bearer {name}")

    def seen_by(name):
        return asyncio.run(call(service.client.app, scope_of("GET", "/v1/requests/id", [of(name)])))

    ask(service, of("alice"))
    assert seen_by("mallory").refusal == (404, "not_found")
    before = seen_by("alice").body
    for body in (ASKING, b"--", form(part('name="question"', b"x"))):
        ask(service, of("mallory"), body=body)
        assert seen_by("alice").body == before
    assert b"tenant" not in before
    assert not any(digest.encode() in before for digest in KEYS.values())


def test_a_request_that_is_refused_does_not_take_the_place_of_one_that_was_answered_under_its_id(service):
    """The same client's: the newest one counts, as it was sent last."""
    ask(service)
    assert record(service).status == 200
    ask(service, body=b"--")
    assert record(service).status == 400


def test_a_websocket_is_not_ours(service):
    scope = scope_of("GET", "/v1/ask") | {"type": "websocket", "subprotocols": []}
    sent = asyncio.run(call(create_app(service.pipeline), scope, receiving([{"type": "websocket.connect"}])))
    assert sent.messages == [{"type": "websocket.close", "code": 1000, "reason": ""}]
