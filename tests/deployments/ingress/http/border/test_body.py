"""Bodies by size and pace: what is too large, stalls or drips is refused, and nobody is held for it."""

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import suppress

import pytest
from starlette.types import Message

from deployments.contract import PUBLIC
from deployments.ingress.http.app import create_app
from deployments.ingress.http.border import body
from deployments.ingress.http.border.body import FORM_OVERHEAD_BYTES, BodyGuard
from deployments.ingress.records import Record
from deployments.ingress.settings import IngressKnobs

from ...conftest import Service, served
from ..asgi import ASKING, FORM, HUNG_UP, PICTURE, Sent, body_of, call, call_unread, receiving, scope_of

START = ASKING[:60]
ENDLESS = {"type": "http.request", "body": b"", "more_body": True}
ASK = scope_of("POST", "/v1/ask", [FORM, ("X-Request-ID", "id")])
CHAT = scope_of(
    "POST", "/v1/chat/completions", [("Content-Type", "application/json"), ("X-Request-ID", "id")]
)  # its body is read by FastAPI, which would answer in its own way


@pytest.fixture
def service() -> Service:
    """Its scopes are written by hand, prefix and all."""
    return served("")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def arriving(clock: Clock, pieces: Iterable[tuple[float, Message]]):
    """Each message, at its number of seconds after the one before."""
    coming = iter(pieces)

    async def receive() -> Message:
        await asyncio.sleep(0)  # it is not there yet
        after_s, message = next(coming)
        clock.now += after_s
        return message

    return receive


def timed(service, clock: Clock):
    """The service whose bodies' time is the clock's."""
    app = create_app(service.pipeline)
    app.app.user_middleware = [
        entry if entry.cls is not BodyGuard else type(entry)(BodyGuard, clock=clock)
        for entry in app.app.user_middleware
    ]
    return app


def record(service) -> Record:
    return asyncio.run(service.pipeline.records.get(PUBLIC, "id"))


def assert_refused(service, sent: Sent, status: int, code: str) -> None:
    assert sent.refusal == (status, code)
    assert sent.headers["connection"] == "close"
    assert (sent.error["request_id"], set(sent.error)) == ("id", {"code", "message", "request_id"})
    kept = record(service)
    assert (kept.status, kept.error) == (status, code)
    assert service.model.questions == []


@pytest.mark.parametrize("scope", [ASK, CHAT], ids=["form", "json"])
@pytest.mark.parametrize("pieces", [[], [START]], ids=["before any byte", "in the middle"])
def test_a_body_that_stalls_is_given_up(service, scope, pieces):
    service.knobs(body_grace_s=0.01)
    receive = receiving(body_of(*pieces, whole=False))
    sent = asyncio.run(call(service.client.app, dict(scope), receive))
    assert_refused(service, sent, 408, "body_too_slow")


def test_a_body_that_drips_below_the_rate_is_given_up(service):
    clock = Clock()
    service.knobs(body_grace_s=5.0, min_body_bytes_per_s=100)
    drips = [(1.0, body_of(ASKING[place : place + 10], whole=False)[0]) for place in range(0, len(ASKING), 10)]
    sent = asyncio.run(call(timed(service, clock), dict(ASK), arriving(clock, drips)))
    assert_refused(service, sent, 408, "body_too_slow")
    assert clock.now - 1000 == 6  # 5 s and the tenth of a second for each drip


def test_a_body_at_the_rate_is_taken(service):
    clock = Clock()
    service.knobs(body_grace_s=5.0, min_body_bytes_per_s=10, request_timeout_s=1000.0)
    drips = [(1.0, message) for message in body_of(*(ASKING[at : at + 10] for at in range(0, len(ASKING), 10)))]
    assert asyncio.run(call(timed(service, clock), dict(ASK), arriving(clock, drips))).status == 200


def test_no_pace_outlasts_the_request_s_own_time(service):
    clock = Clock()
    service.knobs(request_timeout_s=30.0)
    pieces = [(10.0, body_of(part + b"x" * 30_000, whole=False)[0]) for part in (PICTURE[:-2], b"", b"", b"", b"")]
    sent = asyncio.run(call(timed(service, clock), dict(ASK), arriving(clock, pieces)))
    assert_refused(service, sent, 408, "body_too_slow")
    assert clock.now - 1000 == 30


def test_the_wait_for_the_body_counts_towards_the_answer_s_deadline(service):
    now = [service.pipeline._clock()]
    app = create_app(service.pipeline)
    app._clock = lambda: now[0]
    came = body_of(ASKING[:100], ASKING[100:])

    async def receive() -> Message:
        now[0] -= 20  # as if it had arrived so long ago
        return came.pop(0)

    async def asked() -> Sent:
        return await call(app, dict(ASK), receive)

    arrived = now[0]
    assert asyncio.run(asked()).status == 200
    assert service.model.questions[0].deadline == arrived + service.pipeline.knobs.request_timeout_s


@pytest.mark.parametrize("scope", [ASK, CHAT], ids=["form", "json"])
@pytest.mark.parametrize(("beyond", "refused"), [(0, False), (1, True)])
def test_the_limit_is_exact_for_bodies_that_announce_no_length(service, scope, beyond, refused):
    service.knobs(max_body_bytes=1024)
    limit = 1024 * 4 // 3 + FORM_OVERHEAD_BYTES
    pieces = [PICTURE[:-2].ljust(1000, b"x")] + [b"x" * 1000] * (limit // 1000 - 1)
    pieces.append(b"x" * (limit - sum(map(len, pieces)) + beyond))
    sent = asyncio.run(call(service.client.app, dict(scope), receiving(body_of(*pieces))))
    if refused:
        assert_refused(service, sent, 413, "body_too_large")
    else:
        assert sent.status == 400


LIMIT = IngressKnobs().max_body_bytes * 4 // 3 + FORM_OVERHEAD_BYTES


@pytest.mark.parametrize("scope", [ASK, CHAT], ids=["form", "json"])
@pytest.mark.parametrize("length", [str(LIMIT + 1), "1" + "0" * 30, "9" * 5000, "0" * 40 + "1"])
def test_an_announced_length_beyond_the_limit_is_refused_before_a_byte_is_read(service, scope, length):
    scope = scope | {"headers": [*scope["headers"], (b"content-length", length.encode())]}
    assert_refused(service, asyncio.run(call_unread(service.client.app, scope)), 413, "body_too_large")


@pytest.mark.parametrize("length", ["-1", "+5", "5 5", "0x10", "", "five", "1e3", "²", str(LIMIT)])
def test_an_announced_length_that_is_none_says_nothing_the_bytes_count(service, length):
    scope = ASK | {"headers": [*ASK["headers"], (b"content-length", length.encode("latin-1"))]}
    assert asyncio.run(call(service.client.app, scope, receiving(body_of(ASKING)))).status == 200


def test_a_client_that_hangs_up_in_the_middle_leaves_a_record_and_no_traceback(service, caplog):
    for scope in (ASK, CHAT):
        sent = asyncio.run(call(service.client.app, dict(scope), receiving([*body_of(START, whole=False), HUNG_UP])))
        assert sent.messages == []
        assert (record(service).status, record(service).error) == (499, "cancelled")
        service.pipeline.records._records.bound(0, 0)  # forget
        service.pipeline.records._records.bound(100, 2**20)
    assert "Traceback" not in caplog.text


def held(service, client: str, app=None):
    """A task of a client's that has sent a part of its form, and sends no more until its event is set."""
    more = asyncio.Event()
    coming = body_of(START, ASKING[len(START) :])

    async def receive() -> Message:
        if len(coming) == 1:
            await more.wait()
        return coming.pop(0)

    sent = call(app or service.client.app, scope_of("POST", "/v1/ask", [FORM], client=client), receive)
    return asyncio.ensure_future(sent), more


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


def guard_of(app) -> BodyGuard:
    """The one in the built stack."""
    layer = app.app.middleware_stack
    while not isinstance(layer, BodyGuard):
        layer = layer.app
    return layer


def test_a_client_may_have_so_many_slow_bodies_and_a_finished_one_makes_room(service, monkeypatch):
    monkeypatch.setattr(body, "SLOW_AFTER_S", 0.005)
    service.knobs(slow_uploads_per_client=2, body_grace_s=20.0)
    app = service.client.app

    async def scene() -> None:
        first, more = held(service, "1.2.3.4")
        second, _ = held(service, "1.2.3.4")
        await until(lambda: app.app.middleware_stack and guard_of(app)._slow["1.2.3.4"] == 2)
        third = await held(service, "1.2.3.4")[0]
        assert (third.refusal, third.headers["connection"]) == ((429, "too_many_uploads"), "close")
        assert third.headers["retry-after"] == "5"
        elsewhere, elsewhere_more = held(service, "5.6.7.8")
        elsewhere_more.set()
        assert (await elsewhere).status == 200
        more.set()
        assert (await first).status == 200
        again, _ = held(service, "1.2.3.4")
        await until(lambda: guard_of(app)._slow["1.2.3.4"] == 2)
        for one in (second, again):
            one.cancel()
            with suppress(asyncio.CancelledError):
                await one
        assert not guard_of(app)._slow

    asyncio.run(scene())


def test_none_means_any_number_of_slow_bodies(service, monkeypatch):
    monkeypatch.setattr(body, "SLOW_AFTER_S", 0.005)
    service.knobs(slow_uploads_per_client=0, body_grace_s=20.0)

    async def scene() -> None:
        many = [held(service, "1.2.3.4") for _ in range(50)]
        await until(
            lambda: service.client.app.app.middleware_stack and guard_of(service.client.app)._slow["1.2.3.4"] == 50
        )
        for _, more in many:
            more.set()
        assert {sent.status for sent in await asyncio.gather(*(task for task, _ in many))} == {200}
        assert not guard_of(service.client.app)._slow

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("client", "whom"),
    [
        (("1.2.3.4", 5), "1.2.3.4"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 5), "2001:db8:1:2::/64"),
        (("::ffff:1.2.3.4", 5), "1.2.3.4"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (("testclient", 5), "testclient"),
        (None, ""),
    ],
)
def test_slow_bodies_are_counted_by_whom_the_address_belongs_to(client, whom):
    assert body._network_of({"client": client}) == whom


def test_an_empty_message_or_many_are_no_bytes(service):
    service.knobs(body_grace_s=0.01)
    empty = [ENDLESS] * 1000
    assert asyncio.run(call(service.client.app, dict(ASK), receiving(empty))).refusal == (408, "body_too_slow")


def test_a_refused_body_s_record_is_its_tenant_s(service):
    digest = hashlib.sha256(b"key").hexdigest()
    service.knobs(api_key_sha256=(digest,), body_grace_s=0.01)
    scope = scope_of("POST", "/v1/ask", [FORM, ("X-Request-ID", "id"), ("Authorization", "Bearer key")])
    sent = asyncio.run(call(service.client.app, scope, receiving([])))
    assert sent.refusal == (408, "body_too_slow")
    assert asyncio.run(service.pipeline.records.get(digest, "id")).error == "body_too_slow"


def test_a_body_that_is_there_is_taken_however_late_we_come_to_it(service):
    clock = Clock()
    service.knobs(request_timeout_s=30.0)
    came = body_of(ASKING[:100], ASKING[100:])

    async def receive() -> Message:
        clock.now += 100  # the loop was busy
        return came.pop(0)

    assert asyncio.run(call(timed(service, clock), dict(ASK), receive)).status == 200
