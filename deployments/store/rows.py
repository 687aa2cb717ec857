"""What the database holds, as values, and how texts become fit for it."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


class State(StrEnum):
    """Where a message is; the last three are its end."""

    WAITING = "waiting"  # a picture without a question, or a question without a picture: the other may come
    READY = "ready"
    OFFERED = "offered"  # its stream is whole, and nobody has fetched the end yet
    JOINED = "joined"  # part of a later message, and ends with it
    ANSWERED = "answered"
    IN_DOUBT = "in_doubt"
    GIVEN_UP = "given_up"


ENDS = (State.ANSWERED, State.IN_DOUBT, State.GIVEN_UP)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message as it came. ``immediate``: it neither waits for a picture nor for words."""

    surface: str
    dedup_key: str
    chat: str
    sender: str
    received_at: float
    payload: str
    has_picture: bool
    has_words: bool
    immediate: bool = False
    stream_id: str | None = None
    stream_text: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is kept."""

    id: int
    surface: str
    dedup_key: str
    chat: str
    sender: str
    received_at: float
    payload: str
    has_picture: bool
    has_words: bool
    state: State
    due_at: float
    attempts: int
    picture_of: int | None
    words_of: int | None
    answer: str | None
    note: str | None
    held: bool
    stream_id: str | None
    stream_text: str | None
    stream_finished: bool
    reason: str | None
    ended_at: float | None


FIELDS = tuple(Message.__dataclass_fields__)


def message_of(row: Any) -> Message:
    values = {name: row[name] for name in FIELDS}
    return Message(**values | {"state": State(values["state"])})


def storable(text: str) -> str:
    """The text without what a database cannot hold: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def cleaned(new: NewMessage) -> NewMessage:
    """The message with storable texts."""
    texts: dict[str, Any] = {
        name: storable(value) for name in NewMessage.__slots__ if isinstance(value := getattr(new, name), str)
    }
    return replace(new, **texts)


def insert_if_new(connection: Connection, table: Table, values: dict[str, Any], unique: tuple[str, ...]) -> Any:
    """The new row's id; None where there is one with the same unique columns. One statement, in either database."""
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing(index_elements=list(unique))
    return connection.execute(statement.returning(table.primary_key.columns[0])).scalar()
