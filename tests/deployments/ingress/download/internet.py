"""A small Internet on loopback: names, public addresses, and servers behind them that answer as a test says."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

import httpcore2

from deployments.ingress.download.addresses import Address
from deployments.ingress.download.fetch import Fetcher
from deployments.ingress.download.settings import FetchKnobs

PICTURE = b"\x89PNG\r\n\x1a\n the bytes of a picture"
PUBLIC, PUBLIC_TOO, PUBLIC_V6 = "93.184.216.34", "93.184.216.35", "2606:2800:220:1::1"
MAX_BYTES = 100_000
NO_TRUST = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

Respond = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes = PICTURE, *headers: str) -> bytes:
    return head(200, f"Content-Length: {len(body)}", *headers) + body


def head(status: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Whatever", *headers, "", ""]).encode()


def moved(location: str, status: int = 302) -> bytes:
    return head(status, f"Location: {location}", "Content-Length: 0")


def saying(*pieces: bytes) -> Respond:
    """A server that answers every request with these bytes and hangs up."""

    async def respond(request: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(pieces))  # not writelines: Python 3.12.1 hangs in it over a piece of no bytes
        await writer.drain()

    return respond


def by_path(answers: dict[str, bytes]) -> Respond:
    async def respond(request: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[request.split()[1]])
        await writer.drain()

    return respond


def forever(first: bytes, again: bytes, pause_s: float = 0.0) -> Respond:
    """A server that never stops talking until its client is gone."""

    async def respond(request: str, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return respond


@dataclass
class Internet(httpcore2.AsyncNetworkBackend):
    """``names`` has the answers of each name, one a look-up; the last one stays. Only ``sites`` can be connected to."""

    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    sites: dict[tuple[str, int], int] = field(default_factory=dict)
    looked_up: list[str] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    never_answer: frozenset[str] = frozenset()

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        self.looked_up.append(host)
        answers = self.names.get(host.removesuffix("."), [[]])
        return [ip_address(text) for text in (answers.pop(0) if len(answers) > 1 else answers[0])]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.dialled.append((host, port))
        if host in self.never_answer:
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.Event().wait()
            except TimeoutError as late:
                raise httpcore2.ConnectTimeout from late
        if (host, port) not in self.sites:
            raise httpcore2.ConnectError("connection refused")
        stream = await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self.sites[host, port])
        self.sockets.append(stream.get_extra_info("socket"))
        return stream

    @asynccontextmanager
    async def site(
        self, respond: Respond | bytes, address: str = PUBLIC, port: int = 80, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[None]:
        """While it lasts, a server at that public address; afterwards every connection to it must be closed."""
        answer = saying(respond) if isinstance(respond, bytes) else respond
        gone, accepted = [], [0]

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted[0] += 1
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                talking = asyncio.create_task(answer(self.requests[-1], writer))
                hung_up = asyncio.create_task(reader.read())
                await asyncio.wait({talking, hung_up}, return_when=asyncio.FIRST_COMPLETED)
                talking.cancel()
                hung_up.cancel()
                await asyncio.gather(talking, hung_up, return_exceptions=True)
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            gone.append(writer)

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        self.sites[address, port] = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            async with asyncio.timeout(5):
                while len(gone) < accepted[0] or any(used.fileno() != -1 for used in self.sockets):
                    await asyncio.sleep(0.001)

    def fetcher(self, trust: ssl.SSLContext | None = None) -> Fetcher:
        return Fetcher(self.resolve, self, trust or NO_TRUST)


def fetched(
    url: str,
    respond: Respond | bytes,
    internet: Internet | None = None,
    knobs: FetchKnobs | None = None,
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """What is fetched from a single server, behind the name ``pictures.example.com`` unless ``internet`` says else."""
    internet = internet or Internet({"pictures.example.com": [[PUBLIC]]})

    async def scenario() -> bytes:
        async with internet.site(respond):
            return await internet.fetcher().fetch(url, knobs or FetchKnobs(), max_bytes)

    return asyncio.run(scenario())
