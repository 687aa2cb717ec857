"""A name server on loopback, which the real resolver asks: answers at once, late, falsely, by TCP, or never."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from deployments.ingress.download.lookups import DnsResolver

TYPES = {1: 4, 28: 6}
NO_SUCH_NAME, SERVER_FAILURE = 3, 2
UDP_BYTES = 1232


@dataclass
class NameServer:
    """``names`` has each name's addresses; a name under one of ``silent`` gets no answer, ``failing`` a failure."""

    names: dict[str, Sequence[str]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def resolver(self) -> AsyncIterator[DnsResolver]:
        """While it lasts, the real resolver, whose only name server is this one."""
        tcp = await asyncio.start_server(self._stream, "127.0.0.1", 0)
        port = tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=("127.0.0.1", port))
        resolver = DnsResolver([f"127.0.0.1:{port}"])
        try:
            yield resolver
        finally:
            resolver.close()
            udp.close()
            tcp.close()
            for connection in self.connections:
                connection.close()
                await connection.wait_closed()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        size = int.from_bytes(await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(size))
        if answer is not None:
            writer.write(len(answer).to_bytes(2) + answer)
            await writer.drain()

    def answer(self, query: bytes, limit: int = 65_535) -> bytes | None:
        name, end = _name(query)
        kind = int.from_bytes(query[end : end + 2])
        self.asked.append(name)
        if name.endswith(self.silent or ("\0",)):
            return None
        known = self.names.get(name)
        found = [ip_address(text) for text in known or () if TYPES.get(kind) == ip_address(text).version]
        status = SERVER_FAILURE if name.endswith(self.failing or ("\0",)) else NO_SUCH_NAME if known is None else 0
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(a.packed)) + a.packed for a in found)
        question = query[12 : end + 4]
        head = struct.pack("!2sHHHHH", query[:2], 0x8180 | status, 1, len(found), 0, 0)
        if len(head + question + records) <= limit:
            return head + question + records
        return struct.pack("!2sHHHHH", query[:2], 0x8380, 1, 0, 0, 0) + question


@dataclass
class _Datagrams(asyncio.DatagramProtocol):
    server: NameServer
    transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, query: bytes, sender: Any) -> None:
        answer = self.server.answer(query, UDP_BYTES)
        if answer is not None:
            self.transport.sendto(answer, sender)


def _name(query: bytes) -> tuple[str, int]:
    labels, place = [], 12
    while size := query[place]:
        labels.append(query[place + 1 : place + 1 + size].decode("ascii").lower())
        place += 1 + size
    return ".".join(labels), place + 1
