"""Download a picture from a URL that a stranger sent, without becoming a way into the network that we run in.

Each hop anew: parse, allowed host and port, look up the name, check **every** address, connect to one of those that
were checked. Redirects are followed by hand, the body is counted as it arrives, and one deadline is over everything.
No cookies, no proxies from the environment, no compression, no connection that serves two requests.

What a stranger can make slow holds nothing that others need: names and connections are waited for without a turn, and
for a body, which takes memory and bandwidth, hosts take turns fairly.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpcore2

from deployments.errors import (
    BlockedAddress,
    FetchFailed,
    FetchTimeout,
    ImageUrlError,
    Overloaded,
    PortNotAllowed,
    TooManyRedirects,
    TuwenError,
    UnsupportedScheme,
)
from deployments.ingress.download.addresses import Address, Network, is_allowed
from deployments.ingress.download.body import Body, Budget, Unlimited, header
from deployments.ingress.download.dialing import CheckedDialer, trust_of_the_system
from deployments.ingress.download.lookups import DnsResolver, Lookups, Resolver
from deployments.ingress.download.settings import FetchKnobs
from deployments.ingress.download.turns import Turns, neighbourhood, zone
from deployments.ingress.download.urls import Target, parse_url

logger = logging.getLogger("ray.serve")

USER_AGENT = "tuwen/0.1"
REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(slots=True)
class _Trip:
    """One download: what it may do, and the host that its caller named, which is the one that messages name.

    ``queued``: it is us that it waits for, and not the host.
    """

    named: str
    knobs: FetchKnobs
    max_bytes: int
    queued: bool = False

    @contextmanager
    def in_queue(self) -> Iterator[None]:
        self.queued = True
        yield
        self.queued = False  # not when the wait was in vain: that is what the deadline asks about


@dataclass(frozen=True, slots=True)
class _Moved:
    location: str


class Fetcher:
    """Downloads pictures. ``resolve``, ``network`` and ``trust`` are the system's unless a test hands in others.

    ``budget`` holds the bytes that downloads have in memory; those of a body that has been returned are its caller's.
    """

    def __init__(
        self,
        resolve: Resolver | None = None,
        network: httpcore2.AsyncNetworkBackend | None = None,
        trust: ssl.SSLContext | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._resolve = Lookups(resolve or DnsResolver())
        self._network = network or httpcore2.AnyIOBackend()
        self._trust = trust or trust_of_the_system()
        self._budget = budget or Unlimited()
        self._turns = Turns(1)

    async def fetch(self, url: str, knobs: FetchKnobs, max_bytes: int) -> bytes:
        """The body at ``url``, as sent; whether it is a picture is for the decoder to say.

        Raises:
            ImageUrlError: the URL, or one that it redirects to, may not be fetched (its subclasses say why).
            ImageTooLarge: more than ``max_bytes``.
            FetchFailed: no connection, not a 2xx answer, or not proper HTTP; TlsFailed for TLS.
            FetchTimeout: not all there within ``knobs.timeout_s``.
            Overloaded: that time went by in our own queue, for a turn or for memory.
        """
        target = parse_url(url)
        trip = _Trip(target.host, knobs, max_bytes)
        self._turns.resize(knobs.max_concurrent)
        try:
            async with asyncio.timeout(knobs.timeout_s):
                return await self._follow(target, trip)
        except TimeoutError as late:
            if trip.queued:
                raise Overloaded("too many pictures are being downloaded: ask again, or send the file") from late
            raise FetchTimeout(
                f"{trip.named} did not deliver the picture within {knobs.timeout_s:g} s: ask again, or send the file"
            ) from late

    @property
    def receiving(self) -> int:
        """How many bodies are being received."""
        return self._turns.taken

    @property
    def queued(self) -> int:
        """How many answers wait for their turn to be received."""
        return self._turns.waiting

    async def _follow(self, target: Target, trip: _Trip) -> bytes:
        seen = {target}
        while True:
            found = await self._ask(target, trip)
            if isinstance(found, bytes):
                return found
            target = _redirected(target, found.location, trip)
            if target in seen or len(seen) > trip.knobs.max_redirects:
                raise TooManyRedirects(f"{trip.named} redirects too often: link to the picture itself")
            seen.add(target)

    async def _ask(self, target: Target, trip: _Trip) -> bytes | _Moved:
        """One hop: the body, or where it has moved."""
        addresses = await self._checked(target, trip)
        try:
            async with self._sent(target, addresses, trip) as (response, dialer):
                return _moved(response) or await self._received(target, response, dialer, trip)
        except TuwenError:
            raise
        except Exception as fault:  # httpcore2, h11, ssl, anyio and the socket each have their own; all mean the same
            logger.info("download from %s failed: %s", trip.named, type(fault).__name__)
            raise FetchFailed(
                f"{trip.named} did not deliver the picture: check the address, or send the file"
            ) from fault

    async def _received(
        self, target: Target, response: httpcore2.Response, dialer: CheckedDialer, trip: _Trip
    ) -> bytes:
        _check_head(response, trip)
        body = Body(response, trip.named, trip.max_bytes)
        keys = _turn_keys(target, dialer.connected)
        with trip.in_queue():
            await self._turns.take(keys)
        try:
            dialer.head_arrived(trip.max_bytes)
            return await body.read(self._budget, trip.in_queue)
        finally:
            self._turns.give_back(keys)

    async def _checked(self, target: Target, trip: _Trip) -> Sequence[Address]:
        """The addresses that may be dialled, two at most; raises unless all that the name has are allowed."""
        knobs, opened = trip.knobs, trip.knobs.private_ranges.get(target.host, ())
        blocked = _blocked(trip)
        literal = [] if target.address is None else [target.address]
        if (target.is_local_name and not opened) or not _all_allowed(literal, opened, knobs):
            raise blocked
        if not knobs.allows(target.host):
            raise BlockedAddress(f"{trip.named} leads to a host that pictures are not fetched from: send the file")
        if target.port not in knobs.ports:
            allowed = ", ".join(map(str, knobs.ports))
            raise PortNotAllowed(
                f"{trip.named} leads to a port that is not allowed (allowed: {allowed}): send the file"
            )
        # With a last dot a name stands for itself: without, a cluster's search domains make an internal one of it.
        addresses = literal or await self._found(target.host if opened else f"{target.host}.", target.port, trip)
        if not _all_allowed(addresses, opened, knobs):
            raise blocked
        return _two(addresses)

    async def _found(self, host: str, port: int, trip: _Trip) -> Sequence[Address]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, ValueError) as fault:  # ValueError: no name that can be asked for
            logger.info("look-up of %s failed: %s", trip.named, fault)
            raise FetchFailed(
                f"{trip.named} could not be looked up: check the address, ask again, or send the file"
            ) from fault
        if not addresses:
            raise _blocked(trip)
        return addresses

    @asynccontextmanager
    async def _sent(
        self, target: Target, addresses: Sequence[Address], trip: _Trip
    ) -> AsyncIterator[tuple[httpcore2.Response, CheckedDialer]]:
        """The response's head, on a connection of its own.

        Not from a pool: one would hand a connection that was made and verified for one request to another.
        """
        # A share of the time for each, so that a first address that is dead leaves the other half to the second.
        connect_s = trip.knobs.timeout_s / len(addresses)
        dialer = CheckedDialer(self._network, addresses, connect_s, trip.named)
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.target)
        connection = httpcore2.AsyncHTTPConnection(url.origin, ssl_context=self._trust, network_backend=dialer)
        try:
            request = httpcore2.Request("GET", url, headers=_headers(target, trip.knobs))
            yield await connection.handle_async_request(request), dialer
        finally:
            await dialer.aclose()


def _headers(target: Target, knobs: FetchKnobs) -> list[tuple[str, str]]:
    """Made anew for every hop, so that what one host is told never reaches another."""
    usual = {"accept": "image/*", "user-agent": USER_AGENT}
    fixed = {"accept-encoding": "identity", "connection": "close"}
    return [("host", target.authority), *{**usual, **knobs.headers_for(target.host), **fixed}.items()]


def _turn_keys(target: Target, address: Address) -> Sequence[str]:
    """Under what a body takes its turn: the network it comes from, and the name's zone, which can point anywhere."""
    return [neighbourhood(address), *([] if target.address else [zone(target.host)])]


def _blocked(trip: _Trip) -> BlockedAddress:
    """The same for a name that does not exist and for one inside a network: which of them do, is not told."""
    return BlockedAddress(f"{trip.named} does not lead to a public address: check its spelling, or send the file")


def _moved(response: httpcore2.Response) -> _Moved | None:
    location = header(response, b"location") if response.status in REDIRECTS else ""
    return _Moved(location) if location else None


def _check_head(response: httpcore2.Response, trip: _Trip) -> None:
    if response.status // 100 != 2:
        raise FetchFailed(f"{trip.named} answered with {response.status // 100}xx: check the address, or send the file")
    if header(response, b"content-encoding").lower() not in ("", "identity"):
        raise FetchFailed(f"{trip.named} sends the picture compressed, although it was told not to: send the file")


def _redirected(target: Target, location: str, trip: _Trip) -> Target:
    """Where a redirect leads. Its message must not tell: it may be from inside a network that the caller cannot see."""
    try:
        found = parse_url(location, base=target)
    except ImageUrlError as fault:
        raise type(fault)(f"{trip.named} redirects to an address that cannot be used: send the file") from fault
    if target.scheme == "https" and found.scheme == "http":
        raise UnsupportedScheme(f"{trip.named} redirects from https to http: link to the picture itself")
    return found


def _all_allowed(addresses: Sequence[Address], opened: Sequence[Network], knobs: FetchKnobs) -> bool:
    return all(is_allowed(address, opened, knobs.blocked_ranges) for address in addresses)


def _two(addresses: Sequence[Address]) -> Sequence[Address]:
    """The first, and another to try when it does not answer: of the other family if there is one."""
    first, *others = addresses
    return [first, *sorted(others, key=lambda other: other.version == first.version)[:1]]
