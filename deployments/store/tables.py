"""The tables, as the newest migration leaves them. Times are seconds since the epoch.

A message is *open* until ``ended_at``; whoever works on it holds its lease. ``sends`` is what went out, or is about to.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_name)s",
}
metadata = MetaData(naming_convention=NAMES)
Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up only what it calls INTEGER."""

messages = Table(
    "messages",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("surface", String(64), nullable=False),
    Column("dedup_key", String(255), nullable=False),
    Column("chat", String(255), nullable=False),
    Column("sender", String(255), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("payload", Text, nullable=False),
    Column("has_picture", Boolean, nullable=False),
    Column("has_words", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("due_at", Float, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", Float),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("joined_to", Id),
    Column("picture_of", Id),
    Column("words_of", Id),
    Column("answer", Text),
    Column("note", String(64)),
    Column("held", Boolean, nullable=False, server_default=false()),
    Column("stream_id", String(64)),
    Column("stream_text", Text),
    Column("stream_finished", Boolean, nullable=False, server_default=false()),
    Column("reason", String(255)),
    Column("ended_at", Float),
    UniqueConstraint("surface", "dedup_key"),
)
Index("ix_messages_due", messages.c.ended_at, messages.c.due_at)
Index("ix_messages_chat", messages.c.surface, messages.c.chat, messages.c.ended_at)
Index("ix_messages_stream", messages.c.stream_id)
Index("ix_messages_joined", messages.c.joined_to)

pictures = Table(
    "pictures",
    metadata,
    Column("message_id", Id, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary),
    Column("fault", String(64)),
    Column("stored_at", Float, nullable=False),
)
Index("ix_pictures_stored", pictures.c.stored_at)

sends = Table(
    "sends",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("message_id", Id, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("way", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("position", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("repeatable", Boolean, nullable=False),
    Column("quota_key", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("began_at", Float, nullable=False),
    Column("code", String(64)),
    UniqueConstraint("message_id", "way", "kind", "position"),
)
Index("ix_sends_quota", sends.c.quota_key, sends.c.began_at)

tokens = Table(
    "tokens",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("token", String(1024), nullable=False),
    Column("expires_at", Float, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", Float, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
)
