"""Is the service's port free? Ray Serve's proxies bind with SO_REUSEPORT: a second service would take half the traffic
of the first without a word, so it is refused before it listens, with the name of who holds the port.
"""

import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from serve_app.processes import (
    Address,
    Listener,
    Process,
    addresses_of,
    listeners,
    overlap,
    owners,
    process,
    raylet_of,
    session_of,
)

WAY_OUT = "stop it, or set another http_options.port in the config"


class PortTaken(Exception):
    """Somebody else listens there; the message names them and says what to do."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A listening socket, the process that has it (None: another user's), and that process's Ray session, if any."""

    listener: Listener
    process: Process | None
    session: str | None

    @property
    def is_proxy(self) -> bool:
        return self.process is not None and self.process.command[0].startswith("ray::ProxyActor")


def demand_free(host: str, port: int) -> None:
    """For whoever is about to start a service. Raises PortTaken, also where the address cannot be had at all."""
    _demand_nobody(in_the_way(holders(), addresses_of(host), port))
    fault = bind_fault(host, port)
    if fault is not None:
        raise PortTaken(fault)


def demand_unshared(host: str, port: int) -> None:
    """For a proxy of Ray Serve that is about to listen: its own session does not count. Raises PortTaken."""
    _demand_nobody(in_the_way(holders(), addresses_of(host), port, session_of(os.getpid())))


def demand_first() -> None:
    """For any process of a running service: its proxies share no port with anybody older. Raises PortTaken."""
    session = session_of(os.getpid())
    _demand_nobody(there_before(holders(), session) if session else None)


def _demand_nobody(holder: Holder | None) -> None:
    if holder is not None:
        raise PortTaken(f"port {holder.listener.port} is held by {named(holder)}: {WAY_OUT}")


def holders() -> list[Holder]:
    """Everybody who listens on this machine."""
    known = owners()
    found = [(listener, known.get(listener.inode)) for listener in listeners()]
    return [Holder(listener, who, session_of(who.pid) if who else None) for listener, who in found]


def own_proxies() -> list[Process]:
    """The proxies of this process's Ray session that listen on this machine."""
    session = session_of(os.getpid())
    return [one.process for one in holders() if one.process and one.is_proxy and one.session == session is not None]


def in_the_way(
    everyone: Iterable[Holder], addresses: list[Address], port: int, own_session: str | None = None
) -> Holder | None:
    """Who would share a connection to these addresses; None if nobody, or only our own session."""
    return next(
        (
            one
            for one in everyone
            if one.listener.port == port
            and any(overlap(one.listener.address, address) for address in addresses)
            and (own_session is None or one.session != own_session)
        ),
        None,
    )


def there_before(everyone: list[Holder], own_session: str) -> Holder | None:
    """Who shares a port with one of the session's proxies and is older, or cannot be seen; None if nobody.

    The younger gives way, so that of two services that start at once exactly one remains.
    """
    proxies = [one for one in everyone if one.session == own_session and one.is_proxy]
    others = [one for one in everyone if one.session != own_session]
    return next((other for other in others if any(_precedes(other, proxy) for proxy in proxies)), None)


def _precedes(other: Holder, proxy: Holder) -> bool:
    one, two = other.listener, proxy.listener
    shared = one.port == two.port and overlap(one.address, two.address)
    older = not (other.process and proxy.process) or other.process.started < proxy.process.started
    return shared and older


def named(holder: Holder) -> str:
    """The process that one would have to stop: for a part of Ray, whoever started that Ray."""
    if holder.process is None:
        return "a process of another user"
    raylet = raylet_of(holder.process.pid)
    starter = process(raylet.parent) if raylet and raylet.parent > 1 else None
    return str(starter or holder.process)


def bind_fault(host: str, port: int) -> str | None:
    """Why a server cannot bind there, as a sentence; None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just left is free
            trial.bind((host, port))
    except OSError as fault:
        return _sentence(host, port, fault)
    return None


def _sentence(host: str, port: int, fault: OSError) -> str:
    if fault.errno == errno.EADDRINUSE:
        return f"port {port} is held by a process that cannot be seen from here, or was a minute ago: {WAY_OUT}"
    if fault.errno == errno.EACCES:
        return f"port {port} is open to root only: set an http_options.port of 1024 or more in the config"
    return f"nothing can listen on {host}, port {port} ({fault.strerror or fault}): set http_options.host in the config"
