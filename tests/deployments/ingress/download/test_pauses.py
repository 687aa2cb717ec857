"""How long a hostile origin, redirect or address can hold up the loop, on which every other request waits.

Measured is the CPU time of each step of the loop, which does not hang on what else this machine does. The origins speak
from a thread of their own.
"""

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address

import pytest

from deployments.errors import ImageUrlError, TuwenError
from deployments.ingress.download.addresses import is_allowed
from deployments.ingress.download.lookups import MAX_ADDRESSES
from deployments.ingress.download.settings import FetchKnobs
from deployments.ingress.download.urls import MAX_URL_CHARS, parse_url

from .internet import PUBLIC, Internet, fetched, head, moved, ok

pytestmark = pytest.mark.filterwarnings("error")

LONGEST_PAUSE_S = 0.05
MAX_BYTES = 20 * 1024 * 1024
URL = "http://pictures.example.com/a.png"
OK, CHUNKED = b"HTTP/1.1 200 OK\r\n", head(200, "Transfer-Encoding: chunked")


@pytest.fixture(scope="module", autouse=True)
def _everything_imported() -> None:
    """The first download of a process imports what it needs."""
    fetched(URL, ok())


@contextmanager
def steps_timed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The CPU seconds of each callback of the loop in this thread."""
    run, here, taken = asyncio.Handle._run, threading.get_ident(), [0.0]

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        if threading.get_ident() == here:
            taken.append(time.thread_time() - began)

    gc.collect()
    gc.freeze()  # what the other tests have left in memory is not the origin's
    try:
        with monkeypatch.context() as patched:
            patched.setattr(asyncio.Handle, "_run", timed)
            yield taken
    finally:
        gc.unfreeze()


@contextmanager
def origin(answer: bytes) -> Iterator[int]:
    """The port of a server that says ``answer`` to everybody, as fast as it is read."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                with client, suppress(OSError):
                    client.recv(65536)
                    client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"A:\r\n" * 7_000 + b"\r\n", id="7,000 headers, as many as are read"),
        pytest.param(OK + b"A:\r\n" * 1_000_000, id="a million headers"),
        pytest.param(OK + b"A: b\r\n" + b" c\r\n" * 7_000 + b"\r\n", id="a folded header"),
        pytest.param(OK + b"A: " + b"a " * 16_000 + b"\r\n\r\n", id="a header of words"),
        pytest.param(OK + b"A:" + b" " * 30_000 + b"b\r\n\r\n", id="a header of spaces"),
        pytest.param(OK + b"Content-Length: 4\r\n" * 1_500 + b"\r\nabcd", id="1,500 lengths"),
        pytest.param(OK + b"Content-Length: " + b"4, " * 10_000 + b"4\r\n\r\nabcd", id="a length of 10,000"),
        pytest.param(OK + b"Content-Length: " + b"9" * 30_000 + b"\r\n\r\n", id="a length of 30,000 digits"),
        pytest.param(OK + b"Transfer-Encoding: " + b"chunked," * 3_500 + b"\r\n\r\n", id="transfer codings"),
        pytest.param(OK + b"Content-Encoding: identity\r\n" * 1_100 + b"\r\n", id="content codings"),
        pytest.param(OK + b"Connection: " + b"close," * 5_000 + b"\r\n\r\n", id="connection options"),
        pytest.param(b"HTTP/1.1 302 Found\r\n" + b"Location: b\r\n" * 2_300 + b"\r\n", id="2,300 locations"),
        pytest.param(moved("http://" + "a." * 15_000), id="a long location"),
        pytest.param(moved("/" + "../" * (MAX_URL_CHARS // 3 - 1)), id="a location of steps up"),
        pytest.param(b"HTTP/1.1 302 Found\r\nLocation: " + b"\xff" * 30_000 + b"\r\n\r\n", id="a location of junk"),
        pytest.param(head(102) * 1_200 + ok(), id="interim responses"),
        pytest.param(b"\r\n" * 100_000, id="empty lines"),
        pytest.param(CHUNKED + b"1\r\na\r\n" * 100_000, id="chunks of one byte"),
        pytest.param(CHUNKED + (b"80\r\n" + b"a" * 128 + b"\r\n") * 100_000, id="chunks that are just long enough"),
        pytest.param(CHUNKED + (b"1;" + b"x" * 3_000 + b"\r\na\r\n") * 5_000, id="chunk extensions"),
        pytest.param(CHUNKED + b"1;" + b"x" * 10_000_000, id="an endless chunk extension"),
        pytest.param(CHUNKED + b"0\r\n" + b"A:\r\n" * 100_000, id="trailers"),
        pytest.param(ok(b"a" * MAX_BYTES), id="a large picture"),
        pytest.param(head(200) + b"a" * MAX_BYTES, id="a large picture with no length"),
    ],
)
def test_no_origin_holds_up_the_loop(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(port: int) -> None:
        internet = Internet({"pictures.example.com": [[PUBLIC]]}, {(PUBLIC, 80): port})
        with suppress(TuwenError):
            await internet.fetcher().fetch(URL, FetchKnobs(), MAX_BYTES)

    def longest_pause_s() -> float:
        with origin(answer) as port, steps_timed(monkeypatch) as steps:
            asyncio.run(scenario(port))
        assert len(steps) > 3
        return max(steps)

    assert any(longest_pause_s() < LONGEST_PAUSE_S for _ in range(3))  # what holds it up does so every time


LONG = MAX_URL_CHARS - 40


@pytest.mark.parametrize(
    "unit",
    [".", "a.", "1", "1.", "0x", "0x0", "xn--", "xn--a.", "中", "中.", "。", "１", "①", "٠", "א", "אa", "a\u0300", "\u0345\u0300\u0316", "a\u200d", "・", "ำ", "ﷺ", "ﷺ.", "각", "😀", "[", ":", "@", "%", "%2e/", "../", "/.", "?", "&a=", "#", "~"],
)  # fmt: skip
@pytest.mark.parametrize("around", ["http://{}", "http://{}.com/", "http://xn--{}/", "http://[{}]/", "http://a:{}/", "http://a.com/{}", "{}"])  # fmt: skip
def test_no_address_holds_up_the_loop(unit: str, around: str) -> None:
    url = around.format(unit * (LONG // len(unit)))
    base = parse_url("https://pictures.example.com/" + "a/" * 900)
    began = time.thread_time()
    for beside in (None, base):
        with suppress(ImageUrlError):
            parse_url(url, beside)
    assert time.thread_time() - began < LONGEST_PAUSE_S


def test_checking_all_addresses_of_a_name_does_not_hold_up_the_loop() -> None:
    opened = FetchKnobs.model_validate({"private_ranges": {"a.com": [f"10.{number}.0.0/16" for number in range(50)]}})
    addresses = [ip_address(f"2606:2800::{number:x}") for number in range(MAX_ADDRESSES)]
    began = time.thread_time()
    assert all(is_allowed(address, opened.private_ranges["a.com"]) for address in addresses)
    assert time.thread_time() - began < LONGEST_PAUSE_S
