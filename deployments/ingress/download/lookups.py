"""Names into addresses, so that slow ones hold up nobody else: asynchronous, shared by equal callers, fair by zone."""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Protocol

import pycares

from deployments.ingress.download.addresses import Address
from deployments.ingress.download.turns import Turns, zone

LOOKUPS = 256
"""At a time; each is a few hundred bytes here, but name servers have limits too."""
LOOKUP_S = 10.0
FIRST_TRY_S, TRIES = 1.0, 5
"""Each try waits twice as long as the one before."""
MAX_ADDRESSES = 64
"""Each one is checked on the loop, and a name server can answer with thousands."""
_NO_SUCH_NAME = frozenset((pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA, pycares.errno.ARES_EBADNAME))


class Resolver(Protocol):
    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """All addresses of a name, best first, or none; raises OSError when that could not be found out."""
        ...


class DnsResolver:
    """The machine's name servers, search domains and hosts file, as /etc/resolv.conf and /etc/nsswitch.conf name them.

    Not ``getaddrinfo``: each call holds a thread until the slowest server has answered, and none can be cancelled, so
    that as many slow names as there are threads stop all others. c-ares asks for thousands at a time from one thread.
    """

    def __init__(self, servers: Iterable[str] | None = None) -> None:
        self._channel = pycares.Channel(servers=servers, timeout=FIRST_TRY_S, tries=TRIES)

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Address]] = loop.create_future()

        def answered(found: pycares.AddrInfoResult | None, error: int | None) -> None:  # in c-ares's thread
            outcome = _outcome(found, error)
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(_settle, answer, outcome)

        self._channel.getaddrinfo(host, port, type=socket.SOCK_STREAM, callback=answered)
        return await answer

    def close(self) -> None:
        self._channel.close()


def _outcome(found: pycares.AddrInfoResult | None, error: int | None) -> Sequence[Address] | OSError:
    if found is None:
        return [] if error in _NO_SUCH_NAME else OSError(f"c-ares: {pycares.errno.errorcode.get(error or 0)}")
    if len(found.nodes) > MAX_ADDRESSES:
        return OSError(f"the name has {len(found.nodes)} addresses")
    return list(dict.fromkeys(ip_address(node.addr[0].decode("ascii")) for node in found.nodes))


def _settle(answer: asyncio.Future[Sequence[Address]], outcome: Sequence[Address] | OSError) -> None:
    if answer.done():  # whoever asked has gone
        return
    if isinstance(outcome, OSError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


class Lookups:
    """A resolver that asks another one: once for all who want the same name, and fairly by zone.

    A caller who goes away leaves at once. What has been asked stays asked until it ends: it holds a turn of its own
    zone, lest asking and hanging up, again and again, be a way to ask without limit.
    """

    def __init__(self, resolve: Resolver, total: int = LOOKUPS) -> None:
        self._resolve, self._turns = resolve, Turns(total)
        self._asked: dict[str, asyncio.Task[Sequence[Address]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        if host not in self._asked:
            await self._turns.take([zone(host)])
            if host in self._asked:  # somebody else was first
                self._turns.give_back([zone(host)])
            else:
                self._ask(host, port)
        return await asyncio.shield(self._asked[host])

    def _ask(self, host: str, port: int) -> None:
        def ended(task: asyncio.Task[Sequence[Address]]) -> None:
            del self._asked[host]
            self._turns.give_back([zone(host)])
            if not task.cancelled():
                task.exception()  # with everybody gone nobody else would read it

        self._asked[host] = asyncio.create_task(self._bounded(host, port))
        self._asked[host].add_done_callback(ended)

    async def _bounded(self, host: str, port: int) -> Sequence[Address]:
        async with asyncio.timeout(LOOKUP_S):
            return await self._resolve(host, port)
