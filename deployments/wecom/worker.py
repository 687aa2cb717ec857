"""Messages being answered: claimed with a lease, asked about, delivered; by any replica, and by one at a time."""

import asyncio
import logging
from typing import Protocol

from deployments.contract import Level
from deployments.errors import RequestError, TuwenError
from deployments.ingress.asking import Ask, Reply
from deployments.ingress.uploads import Upload
from deployments.store.inbox import Inbox, LeaseLost
from deployments.store.rows import Message, State
from deployments.wecom.conversation import AskAbout, Say, asked, joined_answers
from deployments.wecom.delivery import Delivery, Postponed
from deployments.wecom.fetching import Fetching
from deployments.wecom.inbound import Inbound
from deployments.wecom.platform import Platform
from deployments.wecom.reasons import failure_text
from deployments.wecom.settings import Limits, Surface, Texts
from deployments.wecom.waking import Waking

logger = logging.getLogger("ray.serve")

MOST_ATTEMPTS = 4
"""Claims of one message that came to nothing: then its customer gets the fallback text."""
PAUSES_S = (1.0, 3.0, 10.0)
HOLDING_S = 5.0


class Asking(Protocol):
    """The pipeline, as the bot sees it."""

    async def ask(self, ask: Ask) -> Reply: ...


class Worker:
    def __init__(
        self,
        inbox: Inbox,
        delivery: Delivery,
        fetching: Fetching,
        pipeline: Asking,
        platforms: dict[str, Platform],
        surfaces: dict[str, Surface],
        owner: str,
        texts: Texts,
        limits: Limits,
        waking: Waking,
    ) -> None:
        self._inbox, self._delivery, self._fetching, self._pipeline = inbox, delivery, fetching, pipeline
        self._platforms, self._surfaces, self._owner = platforms, surfaces, owner
        self._texts, self._limits, self._waking = texts, limits, waking
        self._working: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Claims and answers until it is cancelled; a database that is away for a while ends nothing."""
        while True:
            try:
                await self._claim()
            except Exception:
                logger.exception("wecom: no messages can be claimed; trying again")
                await asyncio.sleep(self._limits.poll_s)
            await self._waking.wait(self._limits.poll_s)

    async def keep_leases(self) -> None:
        """Prolongs what this replica works on, until it is cancelled."""
        while True:
            await asyncio.sleep(self._limits.lease_s / 4)
            try:
                if self._working:
                    await self._inbox.renew(self._owner, self._limits.lease_s)
            except Exception:
                logger.exception("wecom: leases cannot be prolonged; trying again")

    async def finished(self) -> None:
        """Returns when nothing is being worked on."""
        while self._working:
            await asyncio.wait(self._working)

    async def _claim(self) -> None:
        free = self._limits.answering - len(self._working)
        if free <= 0:
            return
        here = [surface for surface, platform in self._platforms.items() if platform.is_here()]
        for message in await self._inbox.claim(self._owner, here, free, self._limits.lease_s):
            task = asyncio.create_task(self.work(message))
            self._working.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        self._waking.wake()  # the chat's next message may be due

    async def work(self, message: Message) -> None:
        """Brings one claimed message on; whatever goes wrong, it is put back or ended."""
        platform, inbound = self._platforms[message.surface], Inbound.from_json(message.payload)
        try:
            await self._brought_on(platform, message, inbound)
        except LeaseLost as lost:
            logger.info("wecom: %s", lost)
        except Postponed as wait:
            await self._put_back(message, wait)
        except Exception:
            logger.exception("wecom message %s", message.id)
            await self._put_back(message, Postponed(PAUSES_S[-1], orderly=False))

    async def _brought_on(self, platform: Platform, message: Message, inbound: Inbound) -> None:
        if self._waking.now() > message.received_at + 2 * self._limits.give_up_after_s:
            await self._inbox.end(message.id, State.GIVEN_UP, "every way has expired", self._owner)
            return
        if message.state is State.OFFERED:
            message = await self._delivery.taken_over(platform, message, inbound)
        elif message.answer is None:
            message = await self._answered(platform, message, inbound)
        await self._delivery.deliver(platform, message, inbound)

    async def _answered(self, platform: Platform, message: Message, inbound: Inbound) -> Message:
        """The message with its answer, which stays whatever happens from here on."""
        said = await self._said(platform, message, inbound)
        await self._inbox.change(message.id, self._owner, answer=said.text, note=said.note[:64], state=State.READY)
        found = await self._inbox.get(message.id)
        assert found is not None, "its lease is ours"
        return found

    async def _said(self, platform: Platform, message: Message, inbound: Inbound) -> Say:
        if self._waking.now() > message.received_at + self._limits.give_up_after_s:
            return Say(failure_text(self._texts.failed, "expired"), "expired")
        if message.attempts > MOST_ATTEMPTS:
            return Say(failure_text(self._texts.failed, "unavailable"), "too many attempts")
        wanted = await self._wanted(message, inbound)
        if isinstance(wanted, Say):
            return wanted
        try:
            return await self._looked_at(platform, message, inbound, wanted)
        except RequestError as fault:
            return Say(failure_text(self._texts.failed, fault.code), fault.code)
        except TuwenError as fault:
            if message.attempts < MOST_ATTEMPTS:
                logger.warning("wecom message %s: %s: %s", message.id, fault.code, fault)
                raise Postponed(PAUSES_S[min(message.attempts, len(PAUSES_S)) - 1], orderly=False) from fault
            return Say(failure_text(self._texts.failed, fault.code), fault.code)

    async def _wanted(self, message: Message, inbound: Inbound) -> Say | AskAbout:
        earlier, last = "", None
        if message.words_of is not None and (words := await self._inbox.get(message.words_of)):
            earlier = Inbound.from_json(words.payload).question
        if not inbound.pictures and message.picture_of is None:
            last = await self._inbox.last_picture(message, self._surfaces[message.surface].remember_s)
        return asked(message, inbound, earlier, last, self._texts)

    async def _looked_at(self, platform: Platform, message: Message, inbound: Inbound, wanted: AskAbout) -> Say:
        source = inbound
        if wanted.source != message.id:
            other = await self._inbox.get(wanted.source)
            if other is None:
                return Say(self._texts.picture_wanted, "the picture is no longer kept")
            source = Inbound.from_json(other.payload)
        fetched = await self._fetching.pictures(wanted.source, platform, source)
        answers, faults = [], [one.fault for one in fetched if one.fault]
        for place, picture in enumerate(fetched):
            if picture.data is not None:
                answers.append(await self._ask(platform, message, inbound, picture.data, wanted.question, place))
        if not answers:
            fault = faults[0] if faults else "image_missing"
            return Say(failure_text(self._texts.failed, fault), fault)
        return Say(joined_answers(answers), faults[0] if faults else "")

    async def _ask(
        self, platform: Platform, message: Message, inbound: Inbound, data: bytes, question: str, place: int
    ) -> str:
        """The answer. Raises Postponed, once the holding text has gone out, when the service holds."""
        image = await asyncio.to_thread(Upload.of, data)
        request_id = f"wecom-{message.id}-{place}"
        ask = Ask(
            request_id, self._waking.now(), image, question, tenant=f"wecom/{platform.surface}", user=message.sender
        )
        reply = await self._pipeline.ask(ask)
        if reply.level is Level.HOLDING:
            await self._delivery.hold(platform, message, inbound)
            raise Postponed(reply.retry_after_s or HOLDING_S)
        return reply.answer

    async def _put_back(self, message: Message, wait: Postponed) -> None:
        """An orderly wait is not counted among the attempts."""
        due_at = self._waking.now() + wait.wait_s
        try:
            if wait.orderly:
                await self._inbox.change(message.id, self._owner, attempts=max(0, message.attempts - 1))
            await self._inbox.put_back(message.id, self._owner, due_at)
        except LeaseLost as lost:
            logger.info("wecom: %s", lost)
        except Exception:
            logger.exception("wecom message %s is left to its lease", message.id)
        self._waking.at(due_at)
