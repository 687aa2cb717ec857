"""Both databases, each as users have it: a file in WAL mode, and a real PostgreSQL server."""

import asyncio

import pytest

from deployments.store.database import opened


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database's address."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("postgres").fresh()


@pytest.fixture
def database(url):
    database = opened(url, 4)
    yield database
    database.close()


class Clock:
    """Time as the test says."""

    def __init__(self, now=1_700_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def run():
    """Runs a coroutine to its end."""
    return asyncio.run
