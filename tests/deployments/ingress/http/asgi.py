"""An ASGI application called by hand: every message of the request is the test's, and there is no socket."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive

Pairs = Sequence[tuple[str, str]]
HUNG_UP: Message = {"type": "http.disconnect"}


@dataclass
class Sent:
    """What the application has sent so far."""

    messages: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return self.messages[0]["status"] if self.messages else 0

    @property
    def headers(self) -> Headers:
        return Headers(raw=self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.error["code"]


def scope_of(method: str, path: str, headers: Pairs = (), root_path: str = "", client: str = "127.0.0.1") -> dict:
    """As Serve gives it to a replica: ``path`` has the ``root_path`` in it."""
    named = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    if not any(name == b"host" for name, _ in named):
        named.append((b"host", b"localhost"))
    plain, _, query = path.partition("?")
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": root_path + plain, "raw_path": (root_path + plain).encode(), "query_string": query.encode(),
        "root_path": root_path, "headers": named, "client": (client, 1), "server": ("localhost", 80),
    }  # fmt: skip


def body_of(*pieces: bytes, whole: bool = True) -> list[Message]:
    """The messages of a body; the last one ends it, if it is whole."""
    last = len(pieces) - 1
    return [
        {"type": "http.request", "body": piece, "more_body": not (whole and place == last)}
        for place, piece in enumerate(pieces)
    ]


def receiving(messages: Iterable[Message]) -> Receive:
    """Gives the messages at once, then nothing any more, as a connection on which nobody says anything."""
    waiting = list(messages)

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    return receive


async def call(app: ASGIApp, scope: dict, receive: Receive | None = None) -> Sent:
    sent = Sent()
    await app(scope, receive or receiving(body_of(b"")), sent.send)
    return sent


async def call_unread(app: ASGIApp, scope: dict) -> Sent:
    """What is sent before anybody reads the body, which then never comes."""
    sent = Sent()

    async def receive() -> Message:
        assert sent.messages, "it was read before the answer"
        return await asyncio.Event().wait()  # type: ignore[return-value]

    await app(scope, receive, sent.send)
    return sent


BOUNDARY = "xBoundaryx"
FORM = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")


def part(disposition: str, content: bytes, *headers: str) -> bytes:
    lines = [f"--{BOUNDARY}", f"Content-Disposition: form-data; {disposition}", *headers, ""]
    return "\r\n".join(lines).encode() + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


PICTURE = part('name="image"; filename="a.png"', b"picture bytes", "Content-Type: image/png")
QUESTION = part('name="question"', b"what is it?")
ASKING = form(PICTURE, QUESTION)
