"""Pictures are fetched as soon as their message is stored: their address lasts five minutes, a queue maybe longer."""

import asyncio
import logging
from dataclasses import dataclass

from deployments.errors import NotAnImage, TuwenError
from deployments.store.inbox import Inbox
from deployments.wecom.calls import CallFailed
from deployments.wecom.inbound import Inbound, PictureRef
from deployments.wecom.platform import Platform

logger = logging.getLogger("ray.serve")

MOST_PICTURES = 9
"""Of one message; WeCom sends no more."""
ATTEMPTS = 3
PAUSE_S = 1.0
AGAIN = frozenset(("fetch_failed", "fetch_timeout", "overloaded"))
"""Faults that may pass; an address that is not allowed stays so."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A picture's bytes, or the code of why there are none."""

    data: bytes | None
    fault: str | None


class Fetching:
    """Each message's pictures once at a time in this process; what has been fetched is kept in the database."""

    def __init__(self, inbox: Inbox, pause_s: float = PAUSE_S) -> None:
        self._inbox, self._pause_s = inbox, pause_s
        self._under_way: dict[int, asyncio.Task[list[Fetched]]] = {}

    def begin(self, id: int, platform: Platform, inbound: Inbound) -> "asyncio.Task[list[Fetched]]":
        """The one task that fetches the message's pictures."""
        task = self._under_way.get(id)
        if task is None:
            task = asyncio.create_task(self._all(id, platform, inbound.pictures[:MOST_PICTURES]))
            self._under_way[id] = task
            task.add_done_callback(lambda done: self._forgotten(id, done))
        return task

    async def pictures(self, id: int, platform: Platform, inbound: Inbound) -> list[Fetched]:
        """All of the message's pictures, from the database or from the platform."""
        return await asyncio.shield(self.begin(id, platform, inbound))

    def _forgotten(self, id: int, task: "asyncio.Task[list[Fetched]]") -> None:
        self._under_way.pop(id, None)
        if not task.cancelled() and task.exception() is not None:
            logger.error("wecom message %s: its pictures", id, exc_info=task.exception())

    async def _all(self, id: int, platform: Platform, refs: tuple[PictureRef, ...]) -> list[Fetched]:
        known = {position: Fetched(*kept) for position, kept in (await self._inbox.pictures(id)).items()}
        found = []
        for position, ref in enumerate(refs):
            one = known.get(position) or await self._one(platform, ref)
            if position not in known:
                await self._inbox.picture(id, position, one.data, one.fault)
            found.append(one)
        return found

    async def _one(self, platform: Platform, ref: PictureRef) -> Fetched:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return Fetched(await platform.fetch(ref), None)
            except (TuwenError, CallFailed) as fault:
                code = fault.code if isinstance(fault, TuwenError) else "fetch_failed"
                logger.warning("wecom %s: a picture cannot be had: %s: %s", platform.surface, code, fault)
                if code not in AGAIN or attempt == ATTEMPTS:
                    return Fetched(None, _told(code, ref, fault))
                await asyncio.sleep(self._pause_s * attempt)
        raise AssertionError("the last attempt returns")


def _told(code: str, ref: PictureRef, fault: Exception) -> str:
    """A file that turns out to be none is simply no picture."""
    return "not_an_image" if ref.maybe and isinstance(fault, NotAnImage) else code
