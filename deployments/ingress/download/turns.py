"""Taking turns fairly: however many wait for one slow host, the next host finds a turn free."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_network

from deployments.ingress.download.addresses import Address

# Under these second levels of a country people register names, as under .com: example.co.uk, example.com.cn.
_REGISTRIES = frozenset(("ac", "co", "com", "edu", "gov", "net", "org"))
# No longer prefix than these is routed on the Internet, so that whoever has one address has its neighbours as well.
_ROUTED_BITS = {4: 24, 6: 48}


class Turns:
    """At most ``total`` turns at a time, taken under keys: first come, first served, but no key may have them all.

    A key gets a turn as long as it holds fewer than are free. One key alone comes to half of the turns, two to a third
    each, and some stay free for the others (the dynamic threshold of shared buffers, Choudhury and Hahne 1998).
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._waiting: dict[asyncio.Future[None], Sequence[str]] = {}

    async def take(self, keys: Sequence[str]) -> None:
        """Waits for a turn under all of ``keys``; a waiter who is cancelled leaves at once."""
        if self._may(keys):  # nobody who waits may at this moment, so that nobody is overtaken
            self._hold(keys)
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting[granted] = keys
        try:
            await granted
        except asyncio.CancelledError:
            if self._waiting.pop(granted, None) is None:  # granted in the same moment
                self.give_back(keys)
            raise

    def give_back(self, keys: Sequence[str]) -> None:
        self._taken -= 1
        self._held.subtract(keys)
        for key in keys:
            if not self._held[key]:
                del self._held[key]
        self._grant()

    def resize(self, total: int) -> None:
        """From now on as many; whoever holds a turn keeps it."""
        if total != self._total:
            self._total = total
            self._grant()

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _grant(self) -> None:
        for granted, keys in list(self._waiting.items()):
            if self._taken >= self._total:
                return
            if not granted.cancelled() and self._may(keys):
                del self._waiting[granted]
                self._hold(keys)
                granted.set_result(None)

    def _may(self, keys: Sequence[str]) -> bool:
        free = self._total - self._taken
        return all(self._held[key] < free for key in keys)

    def _hold(self, keys: Sequence[str]) -> None:
        self._taken += 1
        self._held.update(keys)


def zone(host: str) -> str:
    """The part of a name that somebody has registered, as far as its shape tells: ``a.b.example.com`` is example.com's.

    Whoever has it can answer for any number of names under it, slowly or not at all.
    """
    labels = host.removesuffix(".").split(".")
    registered = 3 if len(labels[-1]) == 2 and labels[-2:-1] and labels[-2] in _REGISTRIES else 2
    return ".".join(labels[-registered:])


def neighbourhood(address: Address) -> str:
    """The smallest network that is routed on the Internet and has the address."""
    return str(ip_network((int(address), _ROUTED_BITS[address.version]), strict=False))
