"""The way to a database: brought up to date whoever comes first, committed in groups, and each fault its own."""

import asyncio
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from deployments.store.database import expanded, opened
from deployments.store.tables import leases, metadata


def test_the_migrations_make_the_tables_that_the_code_speaks_of(database):
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_of_several_that_start_at_once_one_migrates_and_all_can_work(url, run):
    found = []
    threads = [threading.Thread(target=lambda: found.append(opened(url, 2))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for database in found:
        assert run(database.run(lambda connection: connection.execute(select(leases)).all())) == []
        database.close()


def lease(name):
    return lambda connection: connection.execute(insert(leases).values(name=name, owner="me", until=0))


def test_what_fails_in_a_burst_fails_alone(database, run):
    async def burst():
        works = [database.run(lease(f"name-{n // 2}")) for n in range(40)]  # every second one is there already
        return await asyncio.gather(*works, return_exceptions=True)

    outcomes = run(burst())
    assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 20
    names = run(database.run(lambda connection: connection.execute(select(leases.c.name)).scalars().all()))
    assert len(names) == 20


def test_a_burst_on_a_file_is_committed_together(tmp_path, run):
    database, commits = opened(f"sqlite:///{tmp_path}/a.db"), []
    from sqlalchemy import event

    event.listen(database.engine, "commit", commits.append)
    release = threading.Event()

    async def burst():
        first = asyncio.ensure_future(database.run(lambda connection: release.wait(10)))
        others = [asyncio.ensure_future(database.run(lease(str(n)))) for n in range(50)]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, *others)

    run(burst())
    assert len(commits) <= 3
    database.close()


def test_a_file_is_in_wal_mode_and_flushed_before_anything_is_acknowledged(tmp_path):
    database = opened("sqlite:///./deep/store.db", root=tmp_path)
    with database.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
    assert (tmp_path / "deep" / "store.db").exists()
    database.close()


def test_variables_of_the_address_come_from_the_environment():
    assert expanded("postgresql://bot:${PW}@db/bot", {"PW": "x"}) == "postgresql://bot:x@db/bot"
    with pytest.raises(ValueError, match=r"\$\{PW\} is not set"):
        expanded("postgresql://bot:${PW}@db/bot", {})
