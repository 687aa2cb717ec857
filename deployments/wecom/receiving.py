"""Callbacks: verified, read, stored, and only then acknowledged; the answer comes later, whatever the service does."""

import logging

from deployments.store.inbox import Inbox
from deployments.store.rows import Message, NewMessage
from deployments.wecom.conversation import is_immediate
from deployments.wecom.fetching import Fetching
from deployments.wecom.inbound import Event, Inbound
from deployments.wecom.platform import Ack, Challenge, Platform, Poll, RawRequest, Snapshot
from deployments.wecom.settings import Surface, Texts
from deployments.wecom.streams import Streams
from deployments.wecom.waking import Waking

logger = logging.getLogger("ray.serve")


class Receiving:
    def __init__(
        self,
        inbox: Inbox,
        streams: Streams,
        fetching: Fetching,
        surfaces: dict[str, Surface],
        texts: Texts,
        waking: Waking,
    ) -> None:
        self._inbox, self._streams, self._fetching = inbox, streams, fetching
        self._surfaces, self._texts, self._waking = surfaces, texts, waking

    async def callback(self, platform: Platform, request: RawRequest) -> Ack:
        """The acknowledgement. Raises Unauthorized, RequestError, or what the database raises: then it comes again."""
        opened = platform.verify(request)
        if isinstance(opened, Challenge):
            return Ack(opened.answer)
        what = platform.parse(opened)
        if isinstance(what, Poll):
            return platform.acknowledge(opened, await self._streams.polled(platform, what.stream_id), None)
        if isinstance(what, Event):
            logger.info("wecom %s: event %s", platform.surface, what.name[:64])
            return platform.acknowledge(opened, None, what)
        message = await self.take(platform, what)
        return platform.acknowledge(opened, await self._shown(platform, message), None)

    async def take(self, platform: Platform, inbound: Inbound) -> Message:
        """Stores the message, once however often it comes, and begins to fetch its pictures."""
        surface = self._surfaces[platform.surface]
        stream_id, stream_text = platform.snapshot_at_first(inbound.key) or (None, None)
        new = NewMessage(
            surface=platform.surface,
            dedup_key=inbound.key,
            chat=inbound.chat[:255],
            sender=inbound.sender[:255],
            received_at=self._waking.now(),
            payload=inbound.as_json(),
            has_picture=bool(inbound.pictures),
            has_words=bool(inbound.question),
            immediate=is_immediate(inbound, self._texts),
            stream_id=stream_id,
            stream_text=stream_text,
        )
        message, is_new = await self._inbox.put(new, surface.pair_window_s, surface.remember_s)
        if is_new:
            if inbound.pictures:
                self._fetching.begin(message.id, platform, inbound)
            self._waking.at(message.due_at)
        return message

    async def _shown(self, platform: Platform, message: Message) -> Snapshot | None:
        """The stream as it stands: a repeated callback is answered like the first."""
        return await self._streams.shown(platform, message) if message.stream_id else None
