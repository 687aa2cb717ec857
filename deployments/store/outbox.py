"""What goes out: written down before it is sent, so that a crash leaves no doubt about what may be sent again.

A send that can be repeated without harm is repeated; any other that a crash cut short is *in doubt*, and stays so.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, select, update

from deployments.store.database import Database
from deployments.store.rows import insert_if_new, storable
from deployments.store.tables import messages, sends

UNIQUE = ("message_id", "way", "kind", "position")
TWIN = "\u200b"
"""Set behind a text that equals an earlier one, which the platform would drop as its repetition. Nobody sees it."""


class Sent(StrEnum):
    """Where a send is."""

    SENDING = "sending"
    PENDING = "pending"  # surely not sent; to be tried again
    SENT = "sent"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class Sending:
    """One part of an answer on one way. ``quota`` are (number, seconds) that its key may have."""

    message_id: int
    way: str
    kind: str
    position: int
    body: str
    repeatable: bool
    quota_key: str = ""
    quota: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reserved:
    """May be sent now if ``state`` is ``sending``; if ``wait_s``, then not before. ``again``: it was begun before.

    ``attempts`` counts this one.
    """

    id: int
    state: Sent
    body: str
    again: bool = False
    wait_s: float = 0.0
    attempts: int = 1


class Outbox:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def reserve(self, sending: Sending, twins_s: float = 0.0) -> Reserved:
        """Writes down that the part is about to be sent, if its quota allows it now."""
        now = self._clock()
        return await self._database.run(lambda connection: _reserve(connection, sending, now, twins_s))

    async def finish(self, id: int, state: Sent, code: str = "", rest: str | None = None) -> None:
        """What became of it; ``rest`` is then what of the message's answer is still to be sent."""
        await self._database.run(lambda connection: _finish(connection, id, state, code, rest))

    async def postpone(self, id: int, again: bool, code: str) -> None:
        """It has not been sent, and that was no attempt; one that had been begun before (``again``) stays so."""
        values = {
            "state": Sent.SENDING if again else Sent.PENDING,
            "code": storable(code)[:64],
            "attempts": sends.c.attempts - 1,
        }
        mine = update(sends).where(sends.c.id == id).values(values)
        await self._database.run(lambda connection: connection.execute(mine))

    async def fail(self, message_id: int, way: str, code: str) -> None:
        """Every send of the message on that way has come to nothing."""
        mine = update(sends).where(sends.c.message_id == message_id, sends.c.way == way, sends.c.kind == "answer")
        await self._database.run(lambda connection: connection.execute(mine.values(state=Sent.FAILED, code=code)))

    async def of(self, message_id: int) -> list[dict[str, Any]]:
        """Everything that was sent of a message, in order."""
        wanted = select(sends).where(sends.c.message_id == message_id).order_by(sends.c.id)
        return await self._database.run(lambda c: [dict(row) for row in c.execute(wanted).mappings()])

    async def counts(self) -> dict[str, int]:
        """Sends by state."""
        counted = select(sends.c.state, func.count()).group_by(sends.c.state)
        rows = await self._database.run(lambda c: c.execute(counted).all())
        return {str(row[0]): int(row[1]) for row in rows}


def _reserve(connection: Connection, sending: Sending, now: float, twins_s: float) -> Reserved:
    known = _known(connection, sending)
    if known is not None:
        return _resumed(connection, known, sending, now)
    wait_s = _wait_s(connection, sending, now)
    if wait_s:
        return Reserved(0, Sent.SENDING, sending.body, wait_s=wait_s)
    digest = hashlib.sha256(sending.body.encode("utf-8", "replace")).hexdigest()
    row: dict[str, Any] = {
        "message_id": sending.message_id, "way": sending.way, "kind": sending.kind, "position": sending.position,
        "body": storable(sending.body), "digest": digest, "repeatable": sending.repeatable,
        "quota_key": storable(sending.quota_key), "state": Sent.SENDING, "attempts": 1, "began_at": now,
    }  # fmt: skip
    if twins_s:
        row["body"] += TWIN * _twins(connection, row, now - twins_s)
    return Reserved(insert_if_new(connection, sends, row, UNIQUE), Sent.SENDING, row["body"])


def _finish(connection: Connection, id: int, state: Sent, code: str, rest: str | None) -> None:
    connection.execute(update(sends).where(sends.c.id == id).values(state=state, code=storable(code)[:64]))
    if rest is not None:
        mine = select(sends.c.message_id).where(sends.c.id == id).scalar_subquery()
        connection.execute(update(messages).where(messages.c.id == mine).values(answer=storable(rest)))


def _resumed(connection: Connection, known: Any, sending: Sending, now: float) -> Reserved:
    """What was begun before: sent again if that does no harm, in doubt if it was cut short and might."""
    state, attempts = Sent(known["state"]), known["attempts"] + 1
    mine = update(sends).where(sends.c.id == known["id"])
    cut_short = state is Sent.SENDING
    if cut_short and not sending.repeatable:
        connection.execute(mine.values(state=Sent.IN_DOUBT, code="cut short"))
        return Reserved(known["id"], Sent.IN_DOUBT, known["body"])
    if state not in (Sent.SENDING, Sent.PENDING):
        return Reserved(known["id"], state, known["body"])
    connection.execute(mine.values(state=Sent.SENDING, attempts=attempts, began_at=now))
    return Reserved(known["id"], Sent.SENDING, known["body"], again=cut_short, attempts=attempts)


def _known(connection: Connection, sending: Sending) -> Any:
    same = [sends.c[name] == getattr(sending, name) for name in UNIQUE]
    return connection.execute(select(sends).where(*same)).mappings().first()


def _wait_s(connection: Connection, sending: Sending, now: float) -> float:
    if not sending.quota:
        return 0.0
    longest = max(window for _, window in sending.quota)
    recent = (
        select(sends.c.began_at)
        .where(sends.c.quota_key == sending.quota_key, sends.c.began_at > now - longest)
        .order_by(sends.c.began_at.desc())
    )
    return wait_s(connection.execute(recent).scalars().all(), sending.quota, now)


def wait_s(newest_first: Sequence[float], quota: Sequence[tuple[int, float]], now: float) -> float:
    """How long until one more fits every window."""
    waits = [
        newest_first[number - 1] + window - now
        for number, window in quota
        if len(newest_first) >= number and newest_first[number - 1] > now - window
    ]
    return max(waits, default=0.0)


def _twins(connection: Connection, row: dict[str, Any], since: float) -> int:
    same = select(func.count()).where(
        sends.c.quota_key == row["quota_key"],
        sends.c.digest == row["digest"],
        sends.c.began_at > since,
    )
    return connection.execute(same).scalar() or 0
