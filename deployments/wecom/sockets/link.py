"""A bot's connection over time: opened again after every end, with a pause, and alarmed when somebody else takes it."""

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from deployments.store.shared import Leases
from deployments.wecom.platform import Health
from deployments.wecom.settings import SocketSettings
from deployments.wecom.sockets.connection import Connection, NotSent, new_id, opened
from deployments.wecom.sockets.frames import Frame
from deployments.wecom.sockets.keeper import Keeper
from deployments.wecom.sockets.pauses import HOUR_S, Backoff, retake_pause_s
from deployments.wecom.sockets.protocol import Came, Ignored, Over, Protocol, Subscribed, Why

logger = logging.getLogger("ray.serve")

Handler = Callable[[Came], Awaitable[None]]
FOREIGN = "another client has taken the bot: is its id and secret used elsewhere?"


class Link:
    """``run`` serves; ``ask`` sends over whatever connection there is now."""

    def __init__(
        self, surface: str, settings: SocketSettings, url: str, proxy: str | None, keeper: Keeper, leases: Leases,
        lease_name: str, owner: str, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._surface, self._settings, self._url, self._proxy = surface, settings, url, proxy
        self._keeper, self._leases, self._lease_name = keeper, leases, lease_name
        self._owner, self._clock = owner, clock
        self._connection: Connection | None = None
        self._backoff = Backoff()
        self._fault = "not connected yet"
        self.counts: Counter[str] = Counter()

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.subscribed_at is not None

    async def run(self, handler: Handler) -> None:
        """Until it is cancelled, or the lease is another's."""
        pause_s: float | None = await self._pause_of_before()
        while pause_s is not None:
            await asyncio.sleep(pause_s)
            self.counts["connections"] += 1
            ending, lasted_s = await self._one(handler)
            self.counts[ending.why.value] += 1
            self._fault = ending.detail or ending.why.value
            pause_s = await self._pause_after(ending, lasted_s)
        logger.error("wecom %s: stays without its connection: retakes_per_hour is 0", self._surface)
        await asyncio.get_running_loop().create_future()

    async def ask(self, command: str, req_id: str, body: dict[str, Any]) -> Frame:
        """Raises NotSent, Unconfirmed."""
        if self._connection is None:
            raise NotSent(self._fault)
        return await self._connection.ask(command, req_id, body)

    def health(self) -> Health:
        if not self._keeper.holds:
            return Health(True, "another replica holds the connection", dict(self.counts))
        return Health(self.connected, "connected" if self.connected else self._fault, dict(self.counts))

    async def _one(self, handler: Handler) -> tuple[Over, float | None]:
        """One connection to its end, and how long it was subscribed."""
        settings = self._settings
        protocol = Protocol(settings.bot_id, settings.secret.get_secret_value(), settings.heartbeat_s, new_id)
        async with opened(self._url, self._proxy, protocol, settings.heartbeat_s) as found:
            if isinstance(found, Over):
                return found, None
            self._connection = found
            try:
                return await self._listened(found, handler), found.lasted_s
            finally:
                self._connection = None

    async def _listened(self, connection: Connection, handler: Handler) -> Over:
        async with aclosing(connection.meanings()) as meanings:
            async for meaning in meanings:
                if isinstance(meaning, Over):
                    return meaning
                if isinstance(meaning, Came):
                    await handler(meaning)
                elif isinstance(meaning, Subscribed):
                    self.counts["subscriptions"] += 1
                    logger.info("wecom %s: connected", self._surface)
                elif isinstance(meaning, Ignored):
                    logger.info("wecom %s: ignored: %s", self._surface, meaning.what)
        return Over(Why.CLOSED)

    async def _pause_after(self, ending: Over, lasted_s: float | None) -> float | None:
        """The pause until the next attempt; None: no more attempts."""
        pause_s = self._backoff.after(ending, lasted_s)
        if ending.why is Why.EVICTED and await self._keeper.renewed():
            return await self._pause_after_eviction()
        logger.log(
            logging.ERROR if ending.why is Why.REFUSED else logging.WARNING,
            "wecom %s: %s: %s; again in %.0f s", self._surface, ending.why.value, ending.detail, pause_s,
        )  # fmt: skip
        return pause_s * random.uniform(0.8, 1.2)

    async def _pause_after_eviction(self) -> float | None:
        """While the lease is ours, whoever takes the bot is none of us."""
        self._fault = FOREIGN
        pause_s = await self._retake_pause(await self._retaken_at())
        logger.error("wecom %s: %s (again in %s s)", self._surface, FOREIGN, "never" if pause_s is None else pause_s)
        return pause_s

    async def _pause_of_before(self) -> float | None:
        """A replica that takes the lease over goes on waiting where the one before it was waiting."""
        noted = await self._noted()
        self._fault = FOREIGN if noted.get("until", 0) > self._clock() else self._fault
        return max(0.0, float(noted.get("until", 0)) - self._clock())

    async def _retake_pause(self, retaken_at: list[float]) -> float | None:
        now, settings = self._clock(), self._settings
        pause_s = retake_pause_s(retaken_at, now, settings.retakes_per_hour, settings.retake_pause_s)
        until = now + (pause_s or 0.0)
        recent = [at for at in retaken_at if at > now - HOUR_S]
        note = json.dumps({"retaken_at": [*recent, until], "until": until})
        await self._leases.write(self._lease_name, self._owner, note)
        return pause_s

    async def _retaken_at(self) -> list[float]:
        return [float(at) for at in (await self._noted()).get("retaken_at", [])]

    async def _noted(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._leases.note(self._lease_name) or "{}")
        return found
