"""Servers that stall, flood, lie, or speak no HTTP: each ends in one of our errors, in time, with its socket closed."""

import asyncio
import zlib

import pytest

from deployments.errors import FetchFailed, FetchTimeout, ImageTooLarge, TuwenError
from deployments.ingress.download.settings import FetchKnobs

from .internet import MAX_BYTES, PICTURE, PUBLIC, Internet, Respond, fetched, forever, head, ok, saying

pytestmark = pytest.mark.filterwarnings("error")

URL = "http://pictures.example.com/a.png"
SHORT = FetchKnobs(timeout_s=0.3)
CHUNKED = head(200, "Transfer-Encoding: chunked")


def fails(respond: Respond | bytes, error: type[TuwenError], knobs: FetchKnobs | None = None) -> TuwenError:
    with pytest.raises(error) as caught:
        fetched(URL, respond, knobs=knobs)
    assert type(caught.value) is error
    return caught.value


@pytest.mark.parametrize(
    "respond",
    [
        pytest.param(forever(b"", b"", 0.02), id="silence"),
        pytest.param(forever(b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.02), id="a byte at a time in the headers"),
        pytest.param(forever(head(200, "Content-Length: 90000"), b"a", 0.02), id="a byte at a time in the body"),
        pytest.param(forever(head(200), b"a", 0.02), id="a byte at a time with no length"),
        pytest.param(forever(CHUNKED, b"1\r\na\r\n", 0.02), id="a byte at a time in chunks"),
        pytest.param(forever(b"", head(102), 0.02), id="interim responses, slowly"),
        pytest.param(forever(CHUNKED, b"0", 0.02), id="a chunk header that never ends"),
    ],
)  # fmt: skip
def test_a_server_that_stalls_meets_the_deadline(respond: Respond) -> None:
    fails(respond, FetchTimeout, SHORT)


@pytest.mark.parametrize(
    "respond",
    [
        pytest.param(head(200, "Content-Length: 5368709120"), id="a length of 5 GB"),
        pytest.param(head(200, f"Content-Length: {MAX_BYTES + 1}"), id="a length of one too many"),
        pytest.param(forever(head(200), b"a" * 65536), id="an endless body with no length"),
        pytest.param(forever(CHUNKED, b"10000\r\n" + b"a" * 65536 + b"\r\n"), id="an endless body in chunks"),
        pytest.param(forever(head(200, "Content-Length: 99999999999999999999"), b"a" * 65536), id="an absurd length"),
    ],
)  # fmt: skip
def test_a_body_above_the_limit_is_cut_off(respond: Respond | bytes) -> None:
    fails(respond, ImageTooLarge)


def test_a_body_of_exactly_the_limit_is_served() -> None:
    body = b"a" * MAX_BYTES
    assert fetched(URL, ok(body)) == body
    assert fetched(URL, head(200) + body) == body
    assert fetched(URL, CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)) == body


def test_a_length_that_is_too_short_ends_the_body_there() -> None:
    assert fetched(URL, head(200, "Content-Length: 4") + PICTURE) == PICTURE[:4]


def test_a_chunked_body_with_many_sensible_pieces_is_served() -> None:
    chunk = b"200\r\n" + b"a" * 512 + b"\r\n"
    assert fetched(URL, CHUNKED + chunk * 2000 + b"0\r\n\r\n", max_bytes=2_000_000) == b"a" * 512 * 2000


@pytest.mark.parametrize(
    "respond",
    [
        pytest.param(b"", id="hangs up"),
        pytest.param(b"\x00\xff\x16\x03\x01" * 100, id="binary junk"),
        pytest.param(b"<html>HTTP/0.9</html>", id="HTTP/0.9"),
        pytest.param(b"HTTP/two 200 OK\r\n\r\n", id="a version of its own"),
        pytest.param(b"HTTP/1.1 999999 OK\r\n\r\n", id="a status of its own"),
        pytest.param(b"HTTP/1.1 \xff\xfe OK\r\n\r\n", id="a status that is no text"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA\x00b: c\r\n\r\n", id="a zero byte in a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", id="a header without a colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000, id="a header of 300 KB"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000, id="100,000 headers"),
        pytest.param(forever(b"", head(100)), id="a flood of interim responses"),
        pytest.param(forever(b"", b"\r\n"), id="a flood of empty lines"),
        pytest.param(head(101, "Upgrade: websocket", "Connection: upgrade"), id="switches protocols"),
        pytest.param(head(200, "Content-Length: 10") + b"four", id="ends before its length"),
        pytest.param(head(200, "Content-Length: ten") + PICTURE, id="a length that is no number"),
        pytest.param(head(200, "Content-Length: -1") + PICTURE, id="a negative length"),
        pytest.param(head(200, "Content-Length: 4", "Content-Length: 5") + PICTURE, id="two lengths"),
        pytest.param(head(200, "Content-Length: " + "9" * 5000), id="a length of 5,000 digits"),
        pytest.param(head(200, "Transfer-Encoding: gzip, chunked"), id="a transfer coding"),
        pytest.param(CHUNKED + b"zz\r\nab\r\n", id="a chunk size that is no number"),
        pytest.param(CHUNKED + b"-1\r\nab\r\n", id="a negative chunk size"),
        pytest.param(CHUNKED + b"5\r\nab", id="ends within a chunk"),
        pytest.param(CHUNKED + b"2\r\nabcd\r\n", id="a chunk longer than it says"),
        pytest.param(CHUNKED + b"F" * 100 + b"\r\n", id="an absurd chunk size"),
        pytest.param(forever(CHUNKED, b"1\r\na\r\n"), id="a flood of chunks of one byte"),
        pytest.param(forever(CHUNKED, b"1;" + b"x" * 20_000 + b"\r\na\r\n"), id="chunk extensions"),
        pytest.param(forever(CHUNKED + b"0\r\n", b"A: b\r\n" * 1000), id="endless trailers"),
        pytest.param(ok(zlib.compress(b"a" * 10_000_000), "Content-Encoding: deflate"), id="compressed"),
        pytest.param(ok(PICTURE, "Content-Encoding: gzip"), id="said to be compressed"),
        pytest.param(ok(PICTURE, "Content-Encoding: identity", "Content-Encoding: br"), id="compressed, said second"),
    ],
)  # fmt: skip
def test_what_is_no_proper_answer_is_a_failure_of_the_server(respond: Respond | bytes) -> None:
    error = fails(respond, FetchFailed)
    assert error.message.startswith("pictures.example.com ")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500, 503, 599, 600])
def test_only_the_class_of_a_status_is_told(status: int) -> None:
    error = fails(head(status, "Content-Length: 6", "X-Secret: s3cret") + b"s3cret", FetchFailed)
    assert f"answered with {status // 100}xx" in error.message
    assert str(status) not in error.message
    assert "s3cret" not in error.message


def test_a_failure_is_not_asked_again() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]]})
    with pytest.raises(FetchFailed):
        fetched(URL, head(500), internet)
    assert len(internet.dialled) == 1


@pytest.mark.parametrize("body", [b"", b"<html>no picture</html>"])
def test_whether_it_is_a_picture_is_not_judged_here(body: bytes) -> None:
    assert fetched(URL, ok(body, "Content-Type: image/png")) == body


def test_identity_by_name_is_no_compression() -> None:
    assert fetched(URL, ok(PICTURE, "Content-Encoding: Identity")) == PICTURE


def test_a_stalling_server_gives_its_turn_back() -> None:
    internet = Internet({"slow.example.com": [["93.184.216.99"]], "pictures.example.com": [[PUBLIC]]})
    knobs = FetchKnobs(timeout_s=0.3, max_concurrent=1)

    async def scenario() -> bytes:
        fetcher = internet.fetcher()
        async with internet.site(forever(b"", b"", 0.02), "93.184.216.99"), internet.site(ok()):
            with pytest.raises(FetchTimeout):
                await fetcher.fetch("http://slow.example.com/", knobs, MAX_BYTES)
            return await fetcher.fetch(URL, knobs.model_copy(update={"timeout_s": 5}), MAX_BYTES)

    assert asyncio.run(scenario()) == PICTURE


def test_a_caller_that_goes_away_leaves_nothing_open() -> None:
    internet = Internet({"pictures.example.com": [[PUBLIC]]})

    async def scenario() -> None:
        async with internet.site(forever(head(200), b"a", 0.02)):
            download = asyncio.create_task(internet.fetcher().fetch(URL, FetchKnobs(), MAX_BYTES))
            while not internet.requests:
                await asyncio.sleep(0.001)
            download.cancel()
            with pytest.raises(asyncio.CancelledError):
                await download

    asyncio.run(scenario())
    assert len(internet.sockets) == 1


def test_a_server_that_hangs_up_while_the_request_is_sent_is_a_failure() -> None:
    fails(saying(), FetchFailed)


def test_tiny_pieces_are_refused_long_before_the_limit_of_bytes() -> None:
    with pytest.raises(FetchFailed, match="too many small pieces"):
        fetched(URL, forever(CHUNKED, b"1\r\na\r\n"), max_bytes=20_000_000)


def test_a_small_picture_may_come_in_tiny_pieces() -> None:
    assert fetched(URL, CHUNKED + b"1\r\na\r\n" * 900 + b"0\r\n\r\n") == b"a" * 900
