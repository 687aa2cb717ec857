"""Messages from their arrival to their one end: stored before they are acknowledged, worked on under a lease.

Each method is one transaction. ``owner`` is who holds the lease; whoever has lost it is told by ``LeaseLost``.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, and_, exists, func, or_, select, update
from sqlalchemy.sql import ColumnElement

from deployments.store.database import Database
from deployments.store.outbox import Sent
from deployments.store.pairing import joined
from deployments.store.rows import FIELDS, Message, NewMessage, State, cleaned, insert_if_new, message_of, storable
from deployments.store.tables import messages, pictures, sends

COLUMNS = [messages.c[name] for name in FIELDS]
BLOCKING = (State.WAITING, State.READY)


class LeaseLost(Exception):
    """Somebody else works on the message by now, or it has come to its end."""


class Inbox:
    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def put(self, new: NewMessage, window_s: float, remember_s: float) -> tuple[Message, bool]:
        """The message as stored, and whether it is new; one that came before is found as it is by now."""
        return await self._database.run(lambda connection: _put(connection, new, window_s, remember_s))

    async def claim(self, owner: str, surfaces: Sequence[str], most: int, lease_s: float) -> list[Message]:
        """Messages that are due, with the lease on them: of each chat the oldest open one, and nobody else's."""
        now = self._clock()
        return await self._database.run(lambda connection: _claim(connection, owner, surfaces, most, now, lease_s))

    async def renew(self, owner: str, lease_s: float) -> int:
        """Prolongs the owner's leases; says how many there are."""
        until = self._clock() + lease_s
        mine = update(messages).where(messages.c.lease_owner == owner, messages.c.ended_at.is_(None))
        return await self._database.run(lambda c: c.execute(mine.values(lease_until=until)).rowcount)

    async def change(self, id: int, owner: str, **values: Any) -> None:
        """Raises LeaseLost."""
        await self._database.run(lambda connection: _change(connection, id, owner, values))

    async def put_back(self, id: int, owner: str, due_at: float, state: State = State.READY) -> None:
        """Gives the lease back; from ``due_at`` on anybody may have it. Raises LeaseLost."""
        await self.change(id, owner, lease_owner=None, lease_until=None, due_at=due_at, state=state)

    async def end(self, id: int, state: State, reason: str, owner: str | None = None) -> bool:
        """Its one end, and that of what it was joined from; False if it had come to it before, or is another's."""
        now = self._clock()
        return await self._database.run(lambda connection: end(connection, id, state, reason, now, owner))

    async def get(self, id: int) -> Message | None:
        return await self._database.run(lambda c: _one(c, messages.c.id == id))

    async def by_stream(self, surface: str, stream_id: str) -> Message | None:
        mine = and_(messages.c.stream_id == stream_id, messages.c.surface == surface)
        return await self._database.run(lambda c: _one(c, mine))

    async def offer(self, id: int, owner: str, text: str, rest: str, due_at: float) -> bool:
        """Puts the answer into the message's stream and gives the lease back; False if the stream had ended."""
        values = {
            "stream_text": storable(text), "stream_finished": True, "answer": storable(rest), "state": State.OFFERED,
            "due_at": due_at, "lease_owner": None, "lease_until": None,
        }  # fmt: skip
        mine = update(messages).where(
            messages.c.id == id, messages.c.lease_owner == owner, messages.c.ended_at.is_(None),
            messages.c.stream_finished.is_(False),
        )  # fmt: skip
        return bool(await self._database.run(lambda c: c.execute(mine.values(**values)).rowcount))

    async def finish_stream(self, id: int, text: str) -> None:
        """Brings a stream to its end, unless it has come to it."""
        mine = update(messages).where(messages.c.id == id, messages.c.stream_finished.is_(False))
        ended = mine.values(stream_text=storable(text), stream_finished=True)
        await self._database.run(lambda connection: connection.execute(ended))

    async def fetched(self, id: int, way: str, state: State, reason: str) -> bool:
        """Ends an offered message whose stream is being fetched, or makes it ready where more is to be said.

        What was offered on that way has then been sent.

        False if somebody has taken it over: then another way carries its answer.
        """
        now = self._clock()
        return await self._database.run(lambda connection: _fetched(connection, id, way, state, reason, now))

    async def last_picture(self, message: Message, remember_s: float) -> int | None:
        """The id of the sender's last picture in the chat, if it is recent enough."""
        since = message.received_at - remember_s
        return await self._database.run(lambda c: last_picture(c, message, since))

    async def picture(self, id: int, position: int, data: bytes | None, fault: str | None) -> None:
        """Keeps a downloaded picture, or why there is none; the first to come stays."""
        now = self._clock()
        row = {"message_id": id, "position": position, "data": data, "fault": fault, "stored_at": now}
        await self._database.run(lambda c: insert_if_new(c, pictures, row, ("message_id", "position")))

    async def pictures(self, id: int) -> dict[int, tuple[bytes | None, str | None]]:
        """What is kept of a message's pictures, by position: the bytes, or why there are none."""
        wanted = select(pictures.c.position, pictures.c.data, pictures.c.fault).where(pictures.c.message_id == id)
        return await self._database.run(lambda c: {row[0]: (row[1], row[2]) for row in c.execute(wanted)})

    async def counts(self) -> dict[str, dict[str, int]]:
        """Messages by surface and state."""
        counted = select(messages.c.surface, messages.c.state, func.count()).group_by(
            messages.c.surface, messages.c.state
        )
        found: dict[str, dict[str, int]] = {}
        for surface, state, count in await self._database.run(lambda c: c.execute(counted).all()):
            found.setdefault(surface, {})[state] = count
        return found


def _fetched(connection: Connection, id: int, way: str, state: State, reason: str, now: float) -> bool:
    offered = and_(messages.c.id == id, messages.c.state == State.OFFERED, messages.c.lease_owner.is_(None))
    left = connection.execute(select(messages.c.answer).where(offered).with_for_update()).first()
    if left is None:
        return False
    offer = update(sends).where(sends.c.message_id == id, sends.c.way == way)
    connection.execute(offer.values(state=Sent.SENT, code="fetched"))
    if not left[0]:
        return end(connection, id, state, reason, now, None)
    connection.execute(update(messages).where(offered).values(state=State.READY, due_at=now))
    return True


def _put(connection: Connection, new: NewMessage, window_s: float, remember_s: float) -> tuple[Message, bool]:
    new = cleaned(new)
    values = asdict(new)
    del values["immediate"]
    values |= {"state": State.READY, "due_at": new.received_at}
    id = insert_if_new(connection, messages, values, ("surface", "dedup_key"))
    if id is not None and not new.immediate:
        joined(connection, id, new, window_s, remember_s)
    known = and_(messages.c.surface == values["surface"], messages.c.dedup_key == values["dedup_key"])
    message = _one(connection, known)
    assert message is not None, "it is there, whoever has put it"
    return message, id is not None


def _claim(
    connection: Connection, owner: str, surfaces: Sequence[str], most: int, now: float, lease_s: float
) -> list[Message]:
    if not surfaces:
        return []
    due = (
        select(messages.c.id)
        .where(
            messages.c.ended_at.is_(None),
            messages.c.due_at <= now,
            messages.c.state != State.JOINED,
            messages.c.surface.in_(surfaces),
            _is_free(now),
            ~_is_behind_another(),
        )
        .order_by(messages.c.due_at, messages.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    ids = connection.execute(due).scalars().all()
    if not ids:
        return []
    lease = {"lease_owner": owner, "lease_until": now + lease_s, "attempts": messages.c.attempts + 1}
    connection.execute(update(messages).where(messages.c.id.in_(ids)).values(lease))
    mine = select(*COLUMNS).where(messages.c.id.in_(ids)).order_by(messages.c.id)
    return [message_of(row) for row in connection.execute(mine).mappings()]


def _is_free(now: float) -> ColumnElement[bool]:
    return or_(messages.c.lease_owner.is_(None), messages.c.lease_until < now)


def _is_behind_another() -> ColumnElement[bool]:
    """Whether the chat has an older message that is still to be answered: answers keep the order of questions."""
    older = messages.alias("older")
    return exists().where(
        older.c.surface == messages.c.surface,
        older.c.chat == messages.c.chat,
        older.c.ended_at.is_(None),
        older.c.state.in_(BLOCKING),
        older.c.id < messages.c.id,
    )


def _change(connection: Connection, id: int, owner: str, values: dict[str, Any]) -> None:
    values = {name: storable(value) if type(value) is str else value for name, value in values.items()}
    mine = update(messages).where(messages.c.id == id, messages.c.lease_owner == owner, messages.c.ended_at.is_(None))
    if not connection.execute(mine.values(**values)).rowcount:
        raise LeaseLost(f"message {id} is no longer {owner}'s")


def end(connection: Connection, id: int, state: State, reason: str, now: float, owner: str | None) -> bool:
    done = {"state": state, "reason": storable(reason)[:255], "ended_at": now, "lease_owner": None}
    open_one = [messages.c.id == id, messages.c.ended_at.is_(None)]
    if owner is not None:
        open_one.append(messages.c.lease_owner == owner)
    if not connection.execute(update(messages).where(*open_one).values(**done)).rowcount:
        return False
    part = update(messages).where(messages.c.joined_to == id, messages.c.ended_at.is_(None))
    connection.execute(part.values(**done | {"reason": f"with message {id}: {done['reason']}"[:255]}))
    return True


def last_picture(connection: Connection, message: Message, since: float) -> int | None:
    newest = (
        select(messages.c.id)
        .where(
            messages.c.surface == message.surface,
            messages.c.chat == message.chat,
            messages.c.sender == message.sender,
            messages.c.has_picture,
            messages.c.received_at >= since,
            messages.c.id < message.id,
        )
        .order_by(messages.c.id.desc())
        .limit(1)
    )
    return connection.execute(newest).scalar()


def _one(connection: Connection, condition: ColumnElement[bool]) -> Message | None:
    row = connection.execute(select(*COLUMNS).where(condition)).mappings().first()
    return message_of(row) if row else None
