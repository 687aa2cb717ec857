"""Who keeps a bot's connection: the replica that holds the bot's lease, for as long as it can prove that it does."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from deployments.store.shared import Leases

logger = logging.getLogger("ray.serve")

LOOKS = 4
"""Looks at the lease in its time. The last of them that fails still leaves time to let go before another takes over."""


class Keeper:
    """``run`` calls ``keep`` while this replica holds the lease, and cancels it once that is not sure any more."""

    def __init__(self, leases: Leases, name: str, owner: str, lease_s: float, clock: Callable[[], float]) -> None:
        self._leases, self._name, self._owner = leases, name, owner
        self._lease_s, self._clock = lease_s, clock
        self._until = 0.0
        self.holds = False

    async def run(self, keep: Callable[[], Awaitable[None]]) -> None:
        """Until it is cancelled; then the lease is free for others at once."""
        while True:
            if await self.renewed():
                await self._kept(keep)
            await asyncio.sleep(self._lease_s / LOOKS)

    async def renewed(self) -> bool:
        """Whether the lease is this replica's for a while; not, too, when the database does not say."""
        asked_at = self._clock()
        try:
            async with asyncio.timeout(self._lease_s / LOOKS):
                mine = await self._leases.take(self._name, self._owner, self._lease_s)
        except Exception as fault:
            logger.warning("wecom: the lease %s cannot be prolonged: %s", self._name, type(fault).__name__)
        else:
            self._until = asked_at + self._lease_s if mine else 0.0
        return self._clock() < self._until - self._lease_s / LOOKS

    async def _kept(self, keep: Callable[[], Awaitable[None]]) -> None:
        self.holds = True
        keeping = asyncio.ensure_future(keep())
        try:
            while not keeping.done():
                await asyncio.wait({keeping}, timeout=self._lease_s / LOOKS)
                if not await self.renewed():
                    logger.warning("wecom: the lease %s is lost", self._name)
                    return
            keeping.result()
        except Exception:
            logger.exception("wecom: keeping %s", self._name)
        finally:
            self.holds = False
            keeping.cancel()
            await asyncio.wait({keeping})
            self._until = 0.0
            await self._given_back()

    async def _given_back(self) -> None:
        try:
            await self._leases.give_back(self._name, self._owner)
        except Exception as fault:  # it lapses by itself; until then nobody has the bot
            logger.warning("wecom: the lease %s cannot be given back: %s", self._name, type(fault).__name__)
