"""Streams that the platform polls: any replica answers, from the database, and each ends with visible text in time."""

import logging
from collections.abc import Callable

from deployments.store.inbox import Inbox
from deployments.store.rows import Message, State
from deployments.wecom.inbound import Inbound
from deployments.wecom.platform import Platform, Snapshot
from deployments.wecom.reasons import failure_text
from deployments.wecom.settings import Texts

logger = logging.getLogger("ray.serve")

STREAM = "stream"


class Streams:
    def __init__(self, inbox: Inbox, texts: Texts, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._inbox, self._texts, self._clock, self._wake = inbox, texts, clock, wake

    async def polled(self, platform: Platform, stream_id: str) -> Snapshot:
        """What the stream shows; one that nobody knows any more ends with the fallback text."""
        message = await self._inbox.by_stream(platform.surface, stream_id)
        if message is None:
            return Snapshot(stream_id, self._texts.failed, True)
        return await self.shown(platform, message)

    async def shown(self, platform: Platform, message: Message) -> Snapshot:
        """What the message's stream shows now; whoever is shown the end of it has its answer."""
        stream_id, text = message.stream_id or "", message.stream_text or ""
        if message.stream_finished:
            offered = message.state is State.OFFERED
            return Snapshot(stream_id, text if not offered or await self._fetched(message) else self._texts.later, True)
        end = self._ending(platform, message)
        if end is None:
            return Snapshot(stream_id, text, False)
        await self._inbox.finish_stream(message.id, end)
        return Snapshot(stream_id, end, True)

    def _ending(self, platform: Platform, message: Message) -> str | None:
        """What a stream without an answer ends with, if it must end now."""
        if message.state is State.JOINED or message.state is State.ANSWERED:
            return self._texts.joined
        if message.ended_at is not None:
            return failure_text(self._texts.failed, "expired")
        ways = platform.ways(message, Inbound.from_json(message.payload))
        if any(way.polled and way.expires_at > self._clock() for way in ways):
            return None
        later = any(not way.polled and way.expires_at > self._clock() for way in ways)
        return self._texts.later if later else failure_text(self._texts.failed, "expired")

    async def _fetched(self, message: Message) -> bool:
        """Whether the answer is the stream's to show: another way may have taken it over."""
        if not await self._inbox.fetched(message.id, STREAM, *ending_of(message, STREAM)):
            again = await self._inbox.get(message.id)  # ended by another poll at the same moment?
            return again is not None and again.stream_text == message.stream_text and again.ended_at is not None
        self._wake()
        return True


def ending_of(message: Message, way: str) -> tuple[State, str]:
    """The end of a message whose text has been delivered."""
    if message.note == "expired":
        return State.GIVEN_UP, "not answered in time; the customer was told"
    return State.ANSWERED, message.note or way
