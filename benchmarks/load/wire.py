"""HTTP/1.1 to one address with as little work as can be: what the load takes of the machine, the service lacks."""

import asyncio
from dataclasses import dataclass, field

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MOST_HEAD_BYTES = 65_536


class Broken(Exception):
    """The connection ended, or what came is no HTTP/1.1 response of known length."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes


@dataclass(slots=True)
class Wire:
    """Keeps connections that have answered; opens another whenever none is free."""

    host: str
    port: int
    opened: int = 0
    _idle: list[Connection] = field(default_factory=list)

    async def send(self, head: bytes, body: bytes) -> Response:
        """The response. A connection that the other side has closed meanwhile is replaced, once. Raises Broken."""
        if self._idle:
            try:
                return await self._sent(self._idle.pop(), head, body)
            except (Broken, OSError):
                pass
        try:
            self.opened += 1
            return await self._sent(
                await asyncio.open_connection(self.host, self.port, limit=MOST_HEAD_BYTES), head, body
            )
        except OSError as fault:
            raise Broken(repr(fault)) from fault

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _sent(self, connection: Connection, head: bytes, body: bytes) -> Response:
        reader, writer = connection
        try:
            writer.writelines((head, body))
            lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            status, headers = int(lines[0].split(b" ", 2)[1]), _headers(lines[1:])
            content = await _body(reader, headers)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError, KeyError) as fault:
            writer.close()
            raise Broken(repr(fault)) from fault
        except BaseException:
            writer.close()
            raise
        if headers.get(b"connection") == b"close":
            writer.close()
        else:
            self._idle.append(connection)
        return Response(status, content)


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    return {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines if line)}


async def _body(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> bytes:
    if headers.get(b"transfer-encoding") != b"chunked":
        return await reader.readexactly(int(headers[b"content-length"]))
    content = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        content += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return content
