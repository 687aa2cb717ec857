"""How a download reaches the network: only checked addresses are dialled, and whatever is read counts."""

import ssl
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore2

from deployments.errors import FetchFailed, TlsFailed
from deployments.ingress.download.addresses import Address

BODY_READ_BYTES = 64 * 1024
HEAD_BYTES, HEAD_READ_BYTES = 32 * 1024, 8 * 1024
"""Read in all, and at a time, before the response's head is complete: more is a flood of headers or interim responses,
and parsing those takes the loop's time."""

# As Python's own, without Diffie-Hellman in finite fields: a server that demands 8192 bits of it takes 280 ms of the
# loop for each handshake. Whoever has that has elliptic curves too.
CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"


def trust_of_the_system() -> ssl.SSLContext:
    context = httpcore2.default_ssl_context()
    context.set_ciphers(CIPHERS)
    return context


class CheckedDialer(httpcore2.AsyncNetworkBackend):
    """One connection to the first of ``addresses`` that answers, whatever name the request has.

    TLS and the ``Host`` header keep the name, so it is the name's certificate that is verified, but no second look-up
    can lead elsewhere. ``connected`` is the address that answered. ``aclose`` closes the socket on every path;
    httpcore2 itself leaves it open when it is cancelled during the handshake.
    """

    def __init__(
        self, network: httpcore2.AsyncNetworkBackend, addresses: Sequence[Address], connect_s: float, named: str
    ) -> None:
        self._network, self._addresses, self._connect_s, self._named = network, addresses, connect_s, named
        self._socket: httpcore2.AsyncNetworkStream | None = None
        self.connected = addresses[0]
        self._bytes_left, self._read_bytes = HEAD_BYTES, HEAD_READ_BYTES

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        fault: Exception = OSError("no address to connect to")
        for address in self._addresses:
            try:
                self._socket = await self._network.connect_tcp(str(address), port, timeout=self._connect_s)
                self.connected = address
                return MeteredStream(self._socket, self)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout, OSError) as refused:
                fault = refused
        raise fault

    def head_arrived(self, max_body_bytes: int) -> None:
        """From here on the body may come, with as much again for its framing, which in practice is a hundredth."""
        self._bytes_left, self._read_bytes = HEAD_BYTES + 2 * max_body_bytes, BODY_READ_BYTES

    async def metered_read(self, stream: httpcore2.AsyncNetworkStream, max_bytes: int, timeout: float | None) -> bytes:
        data = await stream.read(min(max_bytes, self._read_bytes), timeout)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise FetchFailed(f"{self._named} sends too much beside the picture: link to the picture itself")
        return data

    def tls_failed(self) -> TlsFailed:
        return TlsFailed(f"no secure connection to {self._named}: its certificate is not valid for it, or TLS failed")

    async def aclose(self) -> None:
        if self._socket is not None:
            await self._socket.aclose()


class MeteredStream(httpcore2.AsyncNetworkStream):
    """Counts what is read, so that no framing (interim responses, chunk headers, trailers) is free of charge."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream, dialer: CheckedDialer) -> None:
        self._stream, self._dialer = stream, dialer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._dialer.metered_read(self._stream, max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            secure = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except Exception as fault:  # ssl's own, httpcore2's, and whatever a hostile certificate brings out
            raise self._dialer.tls_failed() from fault
        return MeteredStream(secure, self._dialer)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
