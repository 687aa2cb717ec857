"""The bot as one thing: built from the section, started beside the ingress, stopped with it."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployments.ingress.ports import Downloader
from deployments.store.database import Database, expanded, opened
from deployments.store.inbox import Inbox
from deployments.store.outbox import Outbox
from deployments.store.retention import purge
from deployments.store.settings import StoreSettings
from deployments.store.shared import Leases, Tokens
from deployments.wecom.app import AppPlatform
from deployments.wecom.bot import BotPlatform
from deployments.wecom.calls import Calls
from deployments.wecom.delivery import Delivery
from deployments.wecom.fetching import Fetching
from deployments.wecom.parts import Parts
from deployments.wecom.pictures import PictureSource
from deployments.wecom.platform import Platform
from deployments.wecom.receiving import Receiving
from deployments.wecom.relay import RelayPlatform
from deployments.wecom.robots import Robots
from deployments.wecom.secrets import with_secrets
from deployments.wecom.settings import Surface, WecomSettings
from deployments.wecom.sockets.platform import SocketPlatform
from deployments.wecom.streams import Streams
from deployments.wecom.tokens import AccessTokens
from deployments.wecom.waking import Waking
from deployments.wecom.worker import Asking, Worker

logger = logging.getLogger("ray.serve")

PURGE_EVERY_S = 60.0


class WecomService:
    """Everything that the section asks for, over one database and one pipeline."""

    def __init__(
        self,
        settings: WecomSettings,
        database: Database,
        pipeline: Asking,
        downloader: Downloader,
        clock: Callable[[], float] = time.time,
        calls: Calls | None = None,
    ) -> None:
        self.settings, self.database, self._clock = settings, database, clock
        self.owner = f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.inbox, self.outbox = Inbox(database, clock), Outbox(database, clock)
        self.leases = Leases(database, clock)
        self.waking = Waking(clock)
        self._calls = calls or Calls(settings.endpoints.proxy)
        parts = self._parts(downloader)
        self.surfaces = surfaces_of(settings)
        self.platforms: dict[str, Platform] = {}
        texts, limits = settings.texts, settings.limits
        self.streams = Streams(self.inbox, texts, clock, self.waking.wake)
        fetching = Fetching(self.inbox)
        self.receiving = Receiving(self.inbox, self.streams, fetching, self.surfaces, texts, self.waking)
        delivery = Delivery(self.inbox, self.outbox, self.owner, texts, limits, clock)
        self.worker = Worker(
            self.inbox, delivery, fetching, pipeline, self.platforms, self.surfaces, self.owner, texts, limits,
            self.waking,
        )  # fmt: skip
        self.platforms.update(self._platforms(parts))
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to work, on the running loop."""
        jobs = [self.worker.run(), self.worker.keep_leases(), self._purge()]
        jobs += [platform.serve(self.receiving.take) for platform in self.platforms.values()]
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def stop(self) -> None:
        """Gives up what is under way: the database knows how far it came."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._calls.close()
        await asyncio.to_thread(self.database.close)

    async def status(self) -> dict[str, Any]:
        """Counts of messages and sends, and how each surface is."""
        health = {name: platform.health() for name, platform in self.platforms.items()}
        return {
            "messages": await self.inbox.counts(),
            "sends": await self.outbox.counts(),
            "surfaces": {
                name: {"ok": one.ok, **({"detail": one.detail} if one.detail else {}), **one.counts}
                for name, one in health.items()
            },
        }

    def _parts(self, downloader: Downloader) -> Parts:
        settings, base = self.settings, self.settings.endpoints.qyapi
        tokens = AccessTokens(self._calls, base, Tokens(self.database), self.leases, self.owner, self._clock)
        most = settings.limits.max_picture_bytes
        pictures = PictureSource(downloader, settings.endpoints, self._calls, most)
        robots = Robots(settings.robots, self._calls)
        return Parts(
            self._calls, base, tokens, pictures, robots, settings.texts, settings.limits, self._clock, self.leases,
            self.owner, settings.endpoints.sockets, settings.endpoints.proxy,
        )  # fmt: skip

    def _platforms(self, parts: Parts) -> dict[str, Platform]:
        settings = self.settings
        found: list[Platform] = [AppPlatform(name, one, parts) for name, one in settings.apps.items()]
        found += [BotPlatform(name, one, parts) for name, one in settings.bots.items()]
        found += [SocketPlatform(name, one, parts) for name, one in settings.sockets.items()]
        found += [RelayPlatform(name, one, parts) for name, one in settings.relays.items()]
        return {platform.surface: platform for platform in found}

    async def _purge(self) -> None:
        limits = self.settings.limits
        while True:
            try:
                while await purge(self.database, self._clock(), limits.retention_s, limits.picture_retention_s):
                    await asyncio.sleep(0)
            except Exception:
                logger.exception("wecom: old rows cannot be removed; trying again")
            await asyncio.sleep(PURGE_EVERY_S)


def surfaces_of(settings: WecomSettings) -> dict[str, Surface]:
    """The settings of every surface that receives, by ``kind/name``."""
    found: dict[str, Surface] = {}
    for kind, group in (
        ("app", settings.apps),
        ("bot", settings.bots),
        ("socket", settings.sockets),
        ("relay", settings.relays),
    ):
        found |= {f"{kind}/{name}": one for name, one in group.items()}
    return found


def wecom_service(
    settings: WecomSettings,
    store: StoreSettings,
    root: Path,
    pipeline: Asking,
    downloader: Downloader,
    environment: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
) -> WecomService:
    """The service with its secrets and its database. Raises SecretsMissing, or whatever keeps the database shut."""
    complete = with_secrets(settings, environment)
    database = opened(expanded(store.url, environment), store.connections, root)
    return WecomService(complete, database, pipeline, downloader, clock)
