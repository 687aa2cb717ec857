"""The one way to a database: opened once a process, brought up to date, and asked in whole transactions.

SQLite has one writer: a thread of its own takes what has gathered and commits it at once, so that a burst costs one
flush to the disk. PostgreSQL gets a thread for each connection, and commits by itself.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

logger = logging.getLogger("ray.serve")

T = TypeVar("T")
MOST_AT_ONCE = 128
BUSY_TIMEOUT_S = 20
MIGRATION_LOCK = 0x7475_7765


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Database:
    """``run`` executes a function over a connection, in one transaction, and returns what it returns."""

    def __init__(self, engine: Engine, threads: int, at_once: int) -> None:
        self.engine, self._at_once = engine, at_once
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, name=f"store-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """The result, once it is committed; raises what the work or the commit raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, loop, future))
        return await future

    def close(self) -> None:
        """What has been asked is still done."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self.engine.dispose()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            ends = False
            while len(batch) < self._at_once and not self._jobs.empty():
                other = self._jobs.get()
                if other is None:
                    ends = True
                    break
                batch.append(other)
            self._commit(batch)
            if ends:
                return

    def _commit(self, batch: list[_Job]) -> None:
        """All in one transaction, each in a savepoint of its own: what fails alone fails nobody else."""
        try:
            try:
                outcomes = self._tried(batch)
            except OperationalError as fault:  # a connection that died, a lock: once more, from the beginning
                logger.warning("database: %s; trying once more", type(fault.orig).__name__)
                outcomes = self._tried(batch)
        except Exception as fault:
            outcomes = [fault] * len(batch)
        for job, outcome in zip(batch, outcomes, strict=True):
            _told(job, outcome)

    def _tried(self, batch: list[_Job]) -> list[Any]:
        with self.engine.begin() as connection:
            if len(batch) == 1:
                return [batch[0].work(connection)]
            return [_contained(connection, job.work) for job in batch]


def _contained(connection: Connection, work: Callable[[Connection], Any]) -> Any:
    """The result, or the exception as a value. A broken connection is everybody's."""
    try:
        with connection.begin_nested():
            return work(connection)
    except OperationalError:
        raise
    except Exception as fault:
        return fault


def _told(job: _Job, outcome: Any) -> None:
    def tell() -> None:
        if job.future.cancelled():
            return
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)

    try:
        job.loop.call_soon_threadsafe(tell)
    except RuntimeError:  # the loop has ended: nobody waits any more
        logger.info("database: a result came after its loop had ended")


def opened(url: str, connections: int = 8, root: Path | None = None) -> Database:
    """The database at the URL, its tables as this version needs them.

    ``sqlite:///./file`` stands below ``root``. Raises whatever keeps it from being opened.
    """
    engine = _engine(url, connections, root or Path.cwd())
    migrate(engine)
    is_file = engine.dialect.name == "sqlite"
    return Database(engine, 1 if is_file else connections, MOST_AT_ONCE if is_file else 1)


def expanded(url: str, environment: Mapping[str, str]) -> str:
    """The URL with ``${NAME}`` from the environment. Raises ValueError for what is not set."""
    for name in set(_names(url)):
        if name not in environment:
            raise ValueError(f"args.store.url: ${{{name}}} is not set")
        url = url.replace(f"${{{name}}}", environment[name])
    return url


def _names(url: str) -> list[str]:
    return [part.partition("}")[0] for part in url.split("${")[1:]]


def _engine(url: str, connections: int, root: Path) -> Engine:
    if not url.startswith("sqlite"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        return create_engine(url, pool_size=connections, max_overflow=2, pool_pre_ping=True)
    path = make_url(url).database or ""
    file = root / path if path.startswith("./") else Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    """Readers beside a writer, nothing lost when the power goes, and transactions that we begin ourselves."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "auto_vacuum=INCREMENTAL"):
        connection.execute(f"PRAGMA {pragma}")


def migrate(engine: Engine) -> None:
    """Apply the steps that the database lacks; of several that start at once, one does it and the others wait."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:  # SQLite: this takes the writer's lock
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
