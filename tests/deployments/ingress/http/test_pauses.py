"""No caller's wish holds the event loop: its longest pause over a table of odd requests.

A pause is the processor time of the loop's own thread in one turn, so that other processes do no harm, and is told in
units of a known piece of work that is measured beside it: ``BOUND_UNITS`` of them are some 200 ms where a unit is 20 ms.
"""

import asyncio
import gc
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from starlette.types import ASGIApp

from deployments.errors import NotAnImage
from deployments.ingress.download.fetch import Fetcher
from deployments.ingress.download.settings import FetchKnobs

from ..conftest import Service, served
from .asgi import ASKING, BOUNDARY, FORM, PICTURE, QUESTION, Pairs, body_of, call, form, part, receiving, scope_of

BOUND_UNITS = 10
PIECE = 256 * 1024
"""As much as a server hands over at once."""
MB = 2**20
JSON = ("Content-Type", "application/json")


@pytest.fixture
def service() -> Service:
    """Its scopes are written by hand, prefix and all."""
    return served("")


@dataclass(frozen=True)
class Odd:
    """One odd request. ``body`` is made when it is its turn."""

    name: str
    headers: Pairs
    body: Callable[[], bytes]
    method: str = "POST"
    path: str = "/v1/ask"


def filled(pattern: bytes, size: int) -> bytes:
    return (pattern * (size // len(pattern) + 1))[:size]


def text(value: bytes, *headers: str) -> bytes:
    return form(PICTURE, part('name="question"', value, *headers))


def address(url: str) -> bytes:
    return form(part('name="image_url"', url.encode()), QUESTION)


def picture(data: bytes) -> bytes:
    return form(part('name="image"; filename="a"', data), QUESTION)


def chat(*parts: object, **more: object) -> bytes:
    return json.dumps({"model": "tuwen-test", "messages": [{"role": "user", "content": list(parts)}], **more}).encode()


def said(text_: str) -> dict[str, str]:
    return {"type": "text", "text": text_}


def shown(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


EDGE = f"\r\n--{BOUNDARY}".encode()
TINY = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'.encode()
WIDE = "".join(f"X-{n}: {'y' * 4000}\r\n" for n in range(6)).encode()
FORMS = [
    Odd("a plain question", [FORM], lambda: ASKING),
    Odd(
        "punycode in the form's header",
        [("Content-Type", FORM[1] + "; charset=punycode")],
        lambda: text(b"a" * 700_000),
    ),
    Odd("punycode in a part", [FORM], lambda: text(b"a" * 60_000, "Content-Type: text/plain; charset=punycode")),
    Odd(
        "idna by the form",
        [FORM],
        lambda: form(part('name="_charset_"', b"idna"), part('name="question"', b"a." * 30_000)),
    ),
    Odd("a field of 700 kB", [FORM], lambda: text(b"a" * 700_000)),
    Odd(
        "a field of 64 kB in GB 18030",
        [FORM],
        lambda: text("囧".encode("gb18030") * 32_768, "Content-Type: a/b; charset=gb18030"),
    ),
    Odd("20 MB of looks like a boundary", [FORM], lambda: picture(filled(b"\r\n--", 20 * MB))),
    Odd("20 MB of nearly the boundary", [FORM], lambda: picture(filled(EDGE[:-1] + b"_", 20 * MB))),
    Odd("20 MB of the boundary and no end of it", [FORM], lambda: picture(filled(EDGE + b"_", 20 * MB))),
    Odd("20 MB of line ends", [FORM], lambda: picture(filled(b"\r\n", 20 * MB))),
    Odd("20 MB of a picture", [FORM], lambda: picture(bytes(20 * MB))),
    Odd("20 MB before the first boundary", [FORM], lambda: filled(b"\r\n", 20 * MB) + ASKING),
    Odd("20 MB after the last boundary", [FORM], lambda: ASKING + filled(b"\r\n--", 20 * MB)),
    Odd("20 MB of tiny parts", [FORM], lambda: filled(TINY, 20 * MB)),
    Odd(
        "20 MB of wide parts",
        [FORM],
        lambda: filled(TINY.replace(b"\r\n\r\n\r\n", b"\r\n" + WIDE + b"\r\n\r\n"), 20 * MB),
    ),
    Odd("20 MB of one header", [FORM], lambda: f"--{BOUNDARY}\r\nX: ".encode() + b"y" * 20 * MB),
    Odd("a disposition of many parameters", [FORM], lambda: form(part("name=question" + ";a=b" * 1000, b"x"))),
    Odd("a disposition of backslashes", [FORM], lambda: form(part('name="' + "\\" * 4000 + '"', b"x"))),
    Odd("an unknown field of 4,000 characters", [FORM], lambda: form(part(f'name="{"question" * 500}"', b"x"))),
    Odd("a content type of 60 kB", [("Content-Type", "multipart/form-data" + '; a="\\"' * 8_000)], lambda: b""),
    Odd("a charset of 60 kB", [("Content-Type", f"{FORM[1]}; charset={'x-' * 30_000}")], lambda: ASKING),
    Odd("a boundary of 60 kB", [("Content-Type", f"multipart/form-data; boundary={'-' * 60_000}")], lambda: b"-" * MB),
    Odd("combining characters", [FORM], lambda: text(("a" + "\u0301\u0323" * 999)[:2000].encode())),
    Odd("runs of digits", [FORM], lambda: text(b"1" * 2000)),
    Odd("digits in groups", [FORM], lambda: text(b"6222 " * 400)),
    Odd("digits and letters", [FORM], lambda: text(b"1101011990010112" * 125)),
    Odd("white space", [FORM], lambda: text(b" \t\r\n\x0b" * 13_000)),
    Odd(
        "a number of 60,000 digits",
        [FORM],
        lambda: form(PICTURE, QUESTION, part('name="max_new_tokens"', b"9" * 60_000)),
    ),
]
ADDRESSES = [
    Odd(f"64 kB of address: {name}", [FORM], lambda url=url: address(url))
    for name, url in {
        "one label": "http://" + "a" * 65_000,
        "labels": "http://" + "a." * 32_000,
        "dots": "http://" + "." * 65_000,
        "not ASCII": "http://" + "é" * 30_000 + "/",
        "many labels not ASCII": "http://" + "é." * 20_000,
        "combining": "http://a" + "\u0301" * 30_000,
        "digits": "http://" + "1" * 65_000,
        "an IPv6 address": "http://[" + "0:" * 32_000 + "]/",
        "a port": "http://a:" + "9" * 65_000,
        "a path": "http://a/" + "../" * 21_000,
        "percents": "http://a/" + "%" * 65_000,
        "credentials": "http://" + "a:b@" * 16_000,
        "a scheme": "h" * 65_000,
        "white space": " " * 65_000,
        "slashes": "http:" + "/" * 65_000,
    }.items()
]
# A server takes no longer request line than this; headers it takes of any length: those of 60 kB get past the guard.
HEADERS = [
    *[
        Odd(f"{name} of 60 kB", [FORM, (name, start + filler * (60_000 // len(filler)))], lambda: ASKING)
        for name, start, filler in (
            ("Authorization", "Bearer ", "x"),
            ("X-Request-ID", "", "x"),
            ("Origin", "http://", "["),
            ("Host", "", "a."),
            ("Host", "", "1"),
            ("Content-Length", "", "9"),
            ("Range", "bytes=", "0-,"),
            ("Cookie", "", "a=b;"),
        )
    ],
    Odd("300 headers", [FORM, *[(f"x-{n}", "y" * 100) for n in range(300)]], lambda: ASKING),
    Odd("an Authorization of 1 MB", [FORM, ("Authorization", "Bearer " + "x" * MB)], lambda: ASKING),
    Odd("an X-Request-ID of 1 MB", [FORM, ("X-Request-ID", "x" * MB)], lambda: ASKING),
    Odd("an Origin of 1 MB", [FORM, ("Origin", "http://" + "[" * MB)], lambda: ASKING),
    Odd("a Host of 1 MB", [FORM, ("Host", "a." * (MB // 2))], lambda: ASKING),
    Odd("a Host of 1 MB of digits", [FORM, ("Host", "1" * MB)], lambda: ASKING),
    Odd("a Content-Length of 1 MB", [FORM, ("Content-Length", "9" * MB)], lambda: ASKING),
    Odd("1,000 headers", [FORM, *[(f"x-{n}", "y" * 1000) for n in range(1000)]], lambda: ASKING),
    Odd("a Range of 1 MB", [("Range", "bytes=" + "0-," * (MB // 3))], lambda: b"", "GET", "/docs/swagger-ui.css"),
    Odd(
        "100,000 ranges",
        [("Range", "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 200_000, 2)))],
        lambda: b"",
        "GET",
        "/docs/swagger-ui.css",
    ),
    Odd("cookies of 1 MB", [FORM, ("Cookie", "a=b;" * (MB // 4))], lambda: ASKING),
    Odd("a query of 64 kB", [FORM], lambda: ASKING, path="/v1/ask?" + "a=b&" * 16_000),
    Odd("a path of 64 kB", [], lambda: b"", "GET", "/" + "a/" * 32_000),
    Odd("a record's id of 64 kB", [], lambda: b"", "GET", "/v1/requests/" + "é" * 32_000),
    Odd("a sample's name of 64 kB", [], lambda: b"", "GET", "/samples/" + "a" * 64_000),
]
BODIES = [
    *[
        Odd(f"JSON of 1 MB: {name}", [JSON], lambda start=start, filler=filler, end=end: start + filled(filler, MB - 99) + end)
        for name, start, filler, end in (
            ("deep", b"", b"[", b""), ("numbers", b'{"n":[', b"1,", b"1]}"), ("one number", b'{"n":', b"9", b"}"),
            ("escapes", b'{"model":"', b"\\n", b'"}'), ("objects", b'{"n":[', b"{},", b"{}]}"),
            ("messages", b'{"messages":[', b'{"role":"user"},', b"{}]}"), ("quotes", b"[", b'"",', b'""]'),
            ("starts of a picture", b'["', b"data:image/png;base64,", b'"]'),
        )
    ],
    Odd("JSON 1,000,000 deep", [JSON], lambda: b'{"model":' + b"[" * 10**6 + b"]" * 10**6 + b"}"),
    Odd("JSON 27 MB deep", [JSON], lambda: b"[" * (26 * MB)),
    Odd("JSON of 1,000,000 messages", [JSON], lambda: b'{"model":"tuwen-test","messages":[' + b",".join([b'{"role":"user"}'] * 10**6) + b"]}"),
    Odd("JSON of one text of 26 MB", [JSON], lambda: chat(said("a" * 26 * MB))),
    Odd("JSON of escapes", [JSON], lambda: b'{"model":"' + b"\\u00e9" * (4 * MB) + b'"}'),
    Odd("JSON of one number of 26 MB", [JSON], lambda: b'{"n":' + b"9" * (26 * MB) + b"}"),
    Odd("JSON of many numbers", [JSON], lambda: b'{"n":[' + b"1," * (13 * MB) + b"1]}"),
    Odd("JSON of many keys", [JSON], lambda: b"{" + b",".join(b'"%d":1' % n for n in range(10**6)) + b"}"),
    Odd("a picture of 20 MB in base64", [JSON], lambda: chat(said("a"), shown("data:image/png;base64," + "A" * (26 * MB)))),
    Odd("an address of 26 MB", [JSON], lambda: chat(said("a"), shown("http://" + "a." * 13 * MB))),
    Odd("parts without number", [JSON], lambda: chat(*[said("a")] * 300_000)),
]  # fmt: skip


@dataclass
class Turns:
    """The longest turn of the loop, in seconds of its thread's processor time and of the clock on the wall."""

    worked: float = 0.0
    passed: float = 0.0

    async def watch(self) -> None:
        worked, passed = time.thread_time(), time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time(), time.perf_counter()
            self.worked, self.passed = max(self.worked, now[0] - worked), max(self.passed, now[1] - passed)
            worked, passed = now


async def longest_turn(app: ASGIApp, odd: Odd, body: bytes) -> tuple[Turns, int]:
    """Of the loop while the request is answered, and the answer's status."""
    pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)] or [b""]
    path = "/v1/chat/completions" if JSON in odd.headers else odd.path
    scope = scope_of(odd.method, path, odd.headers)
    turns = Turns()
    watching = asyncio.ensure_future(turns.watch())
    await asyncio.sleep(0)
    sent = await call(app, scope, receiving(body_of(*pieces)))
    await asyncio.sleep(0)  # the watch sees the last turn too
    watching.cancel()
    return turns, sent.status


def unit_s() -> float:
    """How long this machine works on what takes some 20 ms on the one where the bound was set."""
    began = time.thread_time()
    total = 0
    for number in range(600_000):
        total += number & 7
    assert total
    return time.thread_time() - began


@pytest.fixture(scope="module", autouse=True)
def own_objects_only() -> Iterator[None]:
    """What other tests have left in this process is not gone through by the garbage collector in a request's turn."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    print("\nlongest turn of the loop, ms: worked, on the wall; in units; status", *rows, sep="\n")


@pytest.mark.parametrize("odd", FORMS + ADDRESSES + HEADERS + BODIES, ids=lambda odd: odd.name)
def test_no_request_holds_the_loop(service, table, odd):
    service.knobs(mask_personal_numbers=True, fetch=FetchKnobs(allowed_hosts=("pictures.invalid",)))
    service.pipeline._downloader = Fetcher()
    body = odd.body()
    if len(body) > MB:
        service.preprocessor.faults = [NotAnImage("it is none")]
    asyncio.run(call(service.client.app, scope_of("GET", "/healthz")))  # which builds the application
    unit = min(unit_s(), unit_s(), unit_s())
    turns, status = asyncio.run(longest_turn(service.client.app, odd, body))
    units = turns.worked / unit
    table.append(f"{turns.worked * 1e3:8.1f} {turns.passed * 1e3:8.1f} {units:6.2f}  {status}  {odd.name}")
    assert status in (200, 206, 400, 401, 403, 404, 408, 413, 415, 416, 431)
    assert units <= BOUND_UNITS
