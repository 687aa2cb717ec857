"""What replicas share besides messages: access tokens, and who holds what only one may hold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from deployments.store.database import Database
from deployments.store.rows import insert_if_new
from deployments.store.tables import leases, tokens


@dataclass(frozen=True, slots=True)
class StoredToken:
    token: str
    expires_at: float


class Tokens:
    """Access tokens by name: a new one may end the old one, so that all replicas must use the same."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> StoredToken | None:
        wanted = select(tokens.c.token, tokens.c.expires_at).where(tokens.c.name == name)
        row = await self._database.run(lambda connection: connection.execute(wanted).first())
        return StoredToken(row[0], row[1]) if row else None

    async def put(self, name: str, token: StoredToken) -> None:
        await self._database.run(lambda connection: _put_token(connection, name, token))


def _put_token(connection: Connection, name: str, token: StoredToken) -> None:
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    values = {"token": token.token, "expires_at": token.expires_at}
    statement = dialect.insert(tokens).values(name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


class Leases:
    """Who holds a name, until when; ``note`` is what the holders pass on to one another."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def take(self, name: str, owner: str, lease_s: float) -> bool:
        """Whether the owner has it now: it was free, had run out, or was the owner's, whose it stays."""
        now = self._clock()
        return await self._database.run(lambda connection: _take(connection, name, owner, now, lease_s))

    async def give_back(self, name: str, owner: str) -> None:
        gone = update(leases).where(leases.c.name == name, leases.c.owner == owner).values(until=0.0)
        await self._database.run(lambda connection: connection.execute(gone))

    async def note(self, name: str) -> str:
        wanted = select(leases.c.note).where(leases.c.name == name)
        return await self._database.run(lambda connection: connection.execute(wanted).scalar()) or ""

    async def write(self, name: str, owner: str, note: str) -> None:
        mine = update(leases).where(leases.c.name == name, leases.c.owner == owner).values(note=note)
        await self._database.run(lambda connection: connection.execute(mine))


def _take(connection: Connection, name: str, owner: str, now: float, lease_s: float) -> bool:
    until = now + lease_s
    if insert_if_new(connection, leases, {"name": name, "owner": owner, "until": until}, ("name",)) is not None:
        return True
    free = or_(leases.c.owner == owner, leases.c.until < now)
    taken = update(leases).where(leases.c.name == name, free).values(owner=owner, until=until)
    return connection.execute(taken).rowcount > 0
