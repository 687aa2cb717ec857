"""An answer before the body's end reaches its client, and the connection ends soon after."""

import asyncio

import pytest
from starlette.responses import PlainTextResponse

from deployments.ingress.http.border.unread import UnreadBodies

HEADERS = [(b"content-length", b"30")]


async def refusing(scope, receive, send):
    await PlainTextResponse("no", 401)(scope, receive, send)


async def reading(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await PlainTextResponse("yes")(scope, receive, send)


def answered(app, pieces, headers=HEADERS, linger_s=0.05):
    """What was sent, when ``pieces`` of a body arrive and then nothing more; and how many pieces were left."""
    waiting, sent = list(pieces), []

    async def receive():
        if not waiting:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or b"" in pieces}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    asyncio.run(UnreadBodies(app, linger_s)(scope, receive, send))
    return sent, len(waiting)


def connection(sent):
    return dict(sent[0]["headers"]).get(b"connection")


def test_what_is_still_on_its_way_is_read_and_the_answer_is_whole_before_it():
    sent, left = answered(refusing, [b"x"] * 30)
    assert connection(sent) == b"close"
    assert sent[1]["body"] == b"no"
    assert [message.get("more_body") for message in sent[1:]] == [True, False]
    assert left == 0


def test_who_stops_sending_is_not_waited_for():
    sent, _ = answered(refusing, [b"x", b""])
    assert connection(sent) == b"close"
    assert sent[-1]["more_body"] is False


@pytest.mark.parametrize(
    ("app", "headers"),
    [
        (reading, HEADERS),
        (reading, [(b"transfer-encoding", b"chunked")]),
        (refusing, []),
        (refusing, [(b"content-length", b"0")]),
    ],
)
def test_a_body_that_was_read_or_is_none_leaves_the_connection(app, headers):
    sent, _ = answered(app, [b"x"] * 3, headers)
    assert connection(sent) is None
    assert len(sent) == 2
