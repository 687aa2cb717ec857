"""Old rows go: ended messages with all that belongs to them, pictures sooner than words."""

from sqlalchemy import Connection, delete, select

from deployments.store.database import Database
from deployments.store.tables import messages, pictures

MOST_AT_ONCE = 500
"""Rows a turn, so that no turn holds up the messages that come meanwhile."""


async def purge(database: Database, now: float, messages_s: float, pictures_s: float) -> int:
    """Deletes what ended longer ago than that, a turn; says how many rows went, 0 when nothing is left to do."""
    return await database.run(lambda connection: _purge(connection, now - messages_s, now - pictures_s))


def _purge(connection: Connection, messages_before: float, pictures_before: float) -> int:
    ended = select(messages.c.id).where(messages.c.ended_at < messages_before).limit(MOST_AT_ONCE)
    gone = connection.execute(delete(messages).where(messages.c.id.in_(ended))).rowcount
    # A later question may be about the picture of a message that has ended.
    old = (
        select(pictures.c.message_id)
        .join(messages, messages.c.id == pictures.c.message_id)
        .where(pictures.c.stored_at < pictures_before, messages.c.ended_at < pictures_before)
        .limit(MOST_AT_ONCE)
    )
    gone += connection.execute(delete(pictures).where(pictures.c.message_id.in_(old))).rowcount
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA incremental_vacuum(200)")
    return gone
