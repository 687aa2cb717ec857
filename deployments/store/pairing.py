"""A picture and a question that came as two messages: which of them belong together, decided as the second arrives.

The earlier one is joined to the later one and ends with it. What finds no partner waits; a question also takes the
sender's last picture, for as long as it is remembered.
"""

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.sql import ColumnElement

from deployments.store.rows import NewMessage, State
from deployments.store.tables import messages


def joined(connection: Connection, id: int, new: NewMessage, window_s: float, remember_s: float) -> None:
    """Settles what the new message waits for, and joins to it what waited for it."""
    if new.has_picture and new.has_words:
        return
    partner = _partner(connection, id, new)
    if partner is not None:
        mine = {"words_of": partner} if new.has_picture else {"picture_of": partner}
        _set(connection, messages.c.id == id, **mine)
        _set(connection, messages.c.id == partner, state=State.JOINED, joined_to=id)
        return
    if new.has_words and (known := _remembered(connection, id, new, remember_s)) is not None:
        _set(connection, messages.c.id == id, picture_of=known)
        return
    _set(connection, messages.c.id == id, state=State.WAITING, due_at=new.received_at + window_s)


def _partner(connection: Connection, id: int, new: NewMessage) -> int | None:
    """The sender's latest message that waits for such a one, and is nobody's work yet."""
    waits_for = messages.c.has_words if new.has_picture else messages.c.has_picture
    free = or_(messages.c.lease_owner.is_(None), messages.c.lease_until < new.received_at)
    wanted = (
        select(messages.c.id)
        .where(*_same_talk(new), messages.c.state == State.WAITING, waits_for, free, messages.c.id < id)
        .order_by(messages.c.id.desc())
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(wanted).scalar()


def _remembered(connection: Connection, id: int, new: NewMessage, remember_s: float) -> int | None:
    since = messages.c.received_at >= new.received_at - remember_s
    wanted = select(messages.c.id).where(*_same_talk(new), messages.c.has_picture, since, messages.c.id < id)
    return connection.execute(wanted.order_by(messages.c.id.desc()).limit(1)).scalar()


def _same_talk(new: NewMessage) -> tuple[ColumnElement[bool], ...]:
    return (
        messages.c.surface == new.surface,
        messages.c.chat == new.chat,
        messages.c.sender == new.sender,
    )


def _set(connection: Connection, which: ColumnElement[bool], **values: object) -> None:
    connection.execute(update(messages).where(which).values(**values))
