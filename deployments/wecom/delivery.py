"""An answer on its way: the best open way first, the next one once when that is gone, and every part written down.

What has gone out is never sent again; what a crash left in doubt is counted and shown, not repeated.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from deployments.store.inbox import Inbox
from deployments.store.outbox import Outbox, Reserved, Sending, Sent
from deployments.store.rows import Message, State
from deployments.wecom.degrading import plain, without_links, without_tables
from deployments.wecom.inbound import Inbound
from deployments.wecom.platform import Outgoing, Platform, Verdict, Way
from deployments.wecom.settings import Limits, Texts
from deployments.wecom.splitting import fits, split
from deployments.wecom.streams import STREAM, ending_of

logger = logging.getLogger("ray.serve")

MOST_ATTEMPTS = 5
"""On a way beside which there is another; on the last one there are attempts as long as an answer is of use."""
LONGEST_PAUSE_S = 60.0
CUT = "…"
TWINS_BYTES = 60
ANSWER, HOLDING = "answer", "holding"


class Postponed(Exception):
    """The message waits: for a quota, for the platform, for the service. ``orderly``: it is no failed attempt."""

    def __init__(self, wait_s: float, orderly: bool = True) -> None:
        super().__init__(f"again in {wait_s:g} s")
        self.wait_s, self.orderly = wait_s, orderly


@dataclass(slots=True)
class _Trip:
    """One message's delivery: what is left to say, what became of the rest, and which ways a crash cut short."""

    message: Message
    inbound: Inbound
    platform: Platform
    rest: str
    doubts: bool = False
    failures: list[str] | None = None
    cut_short: frozenset[str] = frozenset()


class Delivery:
    def __init__(
        self, inbox: Inbox, outbox: Outbox, owner: str, texts: Texts, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._inbox, self._outbox, self._owner = inbox, outbox, owner
        self._texts, self._limits, self._clock = texts, limits, clock

    async def deliver(self, platform: Platform, message: Message, inbound: Inbound) -> None:
        """Sends ``message.answer``, to the message's end or until it is offered. Raises Postponed, LeaseLost."""
        rows = [row for row in await self._outbox.of(message.id) if row["kind"] == ANSWER]
        gone = {row["way"]: f"{row['way']}: {row['code']}" for row in rows if row["state"] == Sent.FAILED}
        doubts = any(row["state"] == Sent.IN_DOUBT for row in rows)
        cut_short = frozenset(row["way"] for row in rows if row["state"] == Sent.SENDING)
        trip = _Trip(message, inbound, platform, message.answer or "", doubts, list(gone.values()), cut_short)
        used = [row["way"] for row in rows if row["state"] in (Sent.SENT, Sent.IN_DOUBT)]
        if used and not trip.rest:
            await self._end(trip, used[-1])
            return
        ways = [way for way in platform.ways(message, inbound) if way.name not in gone]
        ways = [way for way in ways if not way.most_parts or used.count(way.name) < way.most_parts]
        ways.sort(key=lambda way: way.name not in cut_short)  # what a crash cut short may have arrived
        for place, way in enumerate(ways):
            if await self._on(trip, way, bool(ways[place + 1 :])):
                return
        await self._end(trip, "no way")

    async def hold(self, platform: Platform, message: Message, inbound: Inbound) -> None:
        """The holding text, at once and once; where its quota is used up, the answer alone must do."""
        if message.held:
            return
        await self._inbox.change(message.id, self._owner, held=True)
        if message.stream_id is not None and not message.stream_finished:
            await self._inbox.change(message.id, self._owner, stream_text=self._texts.holding)
        for way in platform.ways(message, inbound):
            if way.polled:
                return  # its stream shows it
            if way.holds and way.expires_at > self._clock():
                await self._holding(platform, message, inbound, way)
                return

    async def taken_over(self, platform: Platform, message: Message, inbound: Inbound) -> Message:
        """The message whose offered stream nobody has fetched, made ready for the next way."""
        answer = "\n".join(filter(None, (message.stream_text, message.answer)))
        await self._outbox.fail(message.id, STREAM, "not fetched")
        changed = {"state": State.READY, "answer": answer, "stream_text": self._texts.later}
        await self._inbox.change(message.id, self._owner, **changed)
        return replace(message, state=State.READY, answer=answer, stream_text=self._texts.later)

    async def _holding(self, platform: Platform, message: Message, inbound: Inbound, way: Way) -> None:
        sending = Sending(
            message.id, way.name, HOLDING, 0, self._texts.holding, way.repeatable, way.quota_key, way.quota
        )
        reserved = await self._outbox.reserve(sending, way.twins_s)
        if reserved.wait_s or reserved.state is not Sent.SENDING:
            return
        outcome = await platform.send(way, inbound, Outgoing(reserved.body, finished=False))
        state = Sent.SENT if outcome.verdict is Verdict.SENT else Sent.FAILED
        await self._outbox.finish(reserved.id, state, outcome.code)

    async def _on(self, trip: _Trip, way: Way, others: bool) -> bool:
        """Whether the message needs no further way."""
        if way.expires_at <= self._clock() and way.name in trip.cut_short and not way.polled:
            trip.doubts = True
            await self._end(trip, way.name)
            return True
        if way.expires_at <= self._clock():
            self._failed(trip, way, "expired")
            return False
        parts = rendered(trip.rest, way, others)
        if way.polled:
            return await self._offered(trip, way, parts)
        if way.most_parts and len(parts) > way.most_parts:
            trip.rest = "\n".join(parts[way.most_parts :])
            return await self._sent(trip, way, parts[: way.most_parts], trip.rest, others) and False
        if not await self._sent(trip, way, parts, "", others):
            return False
        await self._end(trip, way.name)
        return True

    async def _offered(self, trip: _Trip, way: Way, parts: list[str]) -> bool:
        """Puts the answer where the platform fetches it."""
        message = trip.message
        if message.stream_finished:
            self._failed(trip, way, "ended")
            return False
        await self._outbox.reserve(Sending(message.id, way.name, ANSWER, 0, parts[0], True))
        offered = await self._inbox.offer(
            message.id, self._owner, parts[0], "\n".join(parts[1:]), self._clock() + self._limits.stream_patience_s
        )
        if not offered:  # the stream was brought to an end meanwhile
            await self._outbox.fail(message.id, way.name, "ended")
            self._failed(trip, way, "ended")
        return offered

    async def _sent(self, trip: _Trip, way: Way, parts: list[str], beyond: str, others: bool) -> bool:
        """Whether all the parts are out, or in doubt; if not, what is left of them is the trip's."""
        for position, text in enumerate(parts):
            sending = Sending(
                trip.message.id, way.name, ANSWER, position, text, way.repeatable, way.quota_key, way.quota
            )
            reserved = await self._outbox.reserve(sending, way.twins_s)
            if reserved.wait_s:
                raise Postponed(reserved.wait_s)
            if reserved.state is Sent.SENDING:
                left = "\n".join(filter(None, [*parts[position:], beyond]))
                if not await self._one(trip, way, reserved, left, beyond, others):
                    return False
            trip.doubts |= reserved.state is Sent.IN_DOUBT
        return True

    async def _one(self, trip: _Trip, way: Way, reserved: Reserved, left: str, beyond: str, others: bool) -> bool:
        """Whether the part is out, or in doubt. Raises Postponed."""
        outcome = await trip.platform.send(way, trip.inbound, Outgoing(reserved.body, again=reserved.again))
        if outcome.alert:
            logger.error("wecom %s: %s needs its operator: %s", trip.platform.surface, way.name, outcome.code)
        if outcome.verdict is Verdict.WAIT:
            await self._outbox.postpone(reserved.id, reserved.again, outcome.code)
            raise Postponed(outcome.after_s)
        if outcome.verdict is Verdict.RETRY and self._may_try_again(trip.message, reserved.attempts, others):
            unsure = reserved.again or outcome.maybe_sent
            await self._outbox.finish(reserved.id, Sent.SENDING if unsure else Sent.PENDING, outcome.code)
            raise Postponed(min(LONGEST_PAUSE_S, outcome.after_s * 2.0 ** min(reserved.attempts - 1, 6)))
        if outcome.verdict in (Verdict.RETRY, Verdict.GONE):
            await self._outbox.finish(reserved.id, Sent.FAILED, outcome.code, left)
            self._failed(trip, way, outcome.code)
            trip.rest = left
            return False
        if outcome.verdict is Verdict.IN_DOUBT:
            logger.warning("wecom message %s: %s is in doubt: %s", trip.message.id, way.name, outcome.code)
            trip.doubts = True
        state = Sent.IN_DOUBT if outcome.verdict is Verdict.IN_DOUBT else Sent.SENT
        # A way that can be used once leaves nothing to say but what is beyond it, also if a crash comes before the end.
        await self._outbox.finish(reserved.id, state, outcome.code, beyond if way.most_parts else beyond or None)
        return True

    def _may_try_again(self, message: Message, attempts: int, others: bool) -> bool:
        return (
            attempts < MOST_ATTEMPTS if others else self._clock() < message.received_at + self._limits.give_up_after_s
        )

    @staticmethod
    def _failed(trip: _Trip, way: Way, code: str) -> None:
        trip.failures = [*(trip.failures or []), f"{way.name}: {code}"]

    async def _end(self, trip: _Trip, way: str) -> None:
        message = trip.message
        if way == "no way" and not trip.doubts:
            reason = "; ".join(trip.failures or ["no way is configured"])
            logger.error("wecom message %s of %s is given up: %s", message.id, message.surface, reason)
            await self._inbox.end(message.id, State.GIVEN_UP, reason, self._owner)
        elif trip.doubts:
            await self._inbox.end(message.id, State.IN_DOUBT, f"{way}: cut short or not confirmed", self._owner)
        else:
            await self._inbox.end(message.id, *ending_of(message, way), self._owner)


def rendered(text: str, way: Way, others: bool) -> list[str]:
    """The text as the way shows it, in parts that it takes; cut where nothing else takes the rest."""
    if way.dialect == "plain":
        text = plain(text)
    elif way.dialect == "markdown":
        text = without_tables(text)
    most = way.max_bytes - (TWINS_BYTES if way.twins_s else 0)
    parts = split(text if way.dialect == "plain" else without_links(text), most)
    if way.most_parts and len(parts) > way.most_parts and not others:
        last = fits(parts[way.most_parts - 1], most - len(CUT.encode())) + CUT
        return [*parts[: way.most_parts - 1], last]
    return parts
