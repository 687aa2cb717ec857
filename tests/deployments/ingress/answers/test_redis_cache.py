"""The shared store against a real Redis: there, away, slow, back, and of another opinion about the password."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol
from uuid import uuid4

import pytest
from redis import Redis

from deployments.contract import Level, Usage
from deployments.ingress.answers.breaker import Breaker
from deployments.ingress.answers.cache import MAX_ANSWER_CHARS, CachedAnswer, CacheKey
from deployments.ingress.answers.redis_cache import PREFIX, RedisCache

FULL = CachedAnswer("一张运单", Level.FULL, "stop", Usage(20, 16, 4), 1, 81.5)
FAST = replace(FULL, text="运单", level=Level.FAST)
PATIENT_S = 20.0
"""For what must work: nothing here hangs on how fast the machine is."""


class RedisServer(Protocol):
    """The session's server, of ``tests/conftest.py``."""

    port: int
    url: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def restore(self) -> None: ...


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def key() -> CacheKey:
    """Another one for each test: the server is the session's."""
    return CacheKey(uuid4().hex, "a" * 64, "这是什么？", "b" * 64, None, True)


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    yield redis_server
    redis_server.restore()


@asynccontextmanager
async def opened(url: str, timeout_s: float = PATIENT_S, **options: Any) -> AsyncIterator[RedisCache]:
    cache = RedisCache(url, options.pop("ttl_s", 60), timeout_s, **options)
    try:
        yield cache
    finally:
        await cache.close()


def names(server: RedisServer, key: CacheKey) -> dict[str, int]:
    """What the server keeps for a key, and for how many more milliseconds."""
    with Redis.from_url(server.url, decode_responses=True) as client:
        return {name: client.pttl(name) for name in client.scan_iter(f"{PREFIX}*{key.digest}*")}  # type: ignore[misc]


def test_what_was_put_is_found_by_every_replica(server: RedisServer, key: CacheKey) -> None:
    async def scenario() -> None:
        async with opened(server.url) as one, opened(server.url) as other:
            assert await one.get(key) is None
            await one.put(key, FULL)
            assert await other.get(key) == FULL
            assert await other.get(replace(key, tenant="other")) is None
            assert (one.name, one.status()) == ("redis", "ok")

    asyncio.run(scenario())


@pytest.mark.parametrize("order", [(FULL, FAST), (FAST, FULL)])
def test_a_fast_answer_never_hides_a_full_one(
    server: RedisServer, key: CacheKey, order: tuple[CachedAnswer, CachedAnswer]
) -> None:
    async def scenario() -> None:
        async with opened(server.url) as cache:
            await cache.put(key, order[0])
            assert await cache.get(key) == order[0]
            await cache.put(key, order[1])
            assert await cache.get(key) == FULL

    asyncio.run(scenario())


def test_answers_run_out_at_different_times(server: RedisServer, key: CacheKey) -> None:
    async def scenario() -> None:
        async with opened(server.url, ttl_s=1000) as cache:
            for question in map(str, range(20)):
                await cache.put(replace(key, question=question), FULL)

    asyncio.run(scenario())
    left_ms = [
        left for question in map(str, range(20)) for left in names(server, replace(key, question=question)).values()
    ]
    assert len(set(left_ms)) > 10
    assert all(0 < left <= 1_100_000 for left in left_ms)
    assert max(left_ms) - min(left_ms) > 1000


def test_an_overlong_answer_and_one_without_utf_8_are_not_kept(server: RedisServer, key: CacheKey) -> None:
    async def scenario() -> None:
        async with opened(server.url) as cache:
            await cache.put(key, replace(FULL, text="字" * (MAX_ANSWER_CHARS + 1)))
            await cache.put(key, replace(FULL, text="\ud800"))
            assert await cache.get(key) is None
            assert cache.status() == "ok"
            await cache.put(key, long := replace(FULL, text="字" * MAX_ANSWER_CHARS))
            assert await cache.get(key) == long

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: json.dumps(json.loads(value) | {"version": 2}),
        lambda value: value[:-1],
        lambda value: json.dumps(json.loads(value) | {"key": "0" * 64}),
        lambda value: b"\xff",
    ],
    ids=["another version", "cut", "another key's", "no text"],
)
def test_a_value_that_cannot_be_read_is_a_miss(
    server: RedisServer, key: CacheKey, damage: Callable[[bytes], Any]
) -> None:
    async def scenario() -> None:
        async with opened(server.url) as cache:
            await cache.put(key, FULL)
            (name,) = names(server, key)
            with Redis.from_url(server.url) as client:
                client.set(name, damage(client.get(name)))  # type: ignore[arg-type]
            assert await cache.get(key) is None
            assert cache.status() == "ok"
            await cache.put(key, FAST)
            assert await cache.get(key) == FAST

    asyncio.run(scenario())


def test_a_value_of_another_kind_is_a_miss(server: RedisServer, key: CacheKey) -> None:
    async def scenario() -> None:
        async with opened(server.url) as cache:
            await cache.put(key, FULL)
            (name,) = names(server, key)
            with Redis.from_url(server.url) as client:
                client.delete(name)
                client.lpush(name, "x")
            assert await cache.get(key) is None

    asyncio.run(scenario())


def test_a_server_that_goes_is_left_alone_and_found_again(
    server: RedisServer, key: CacheKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    clock = Clock()

    async def scenario() -> None:
        async with opened(server.url, breaker=Breaker(3, 10, clock)) as cache, opened(server.url) as other:
            await cache.put(key, FULL)
            assert await cache.get(key) == FULL
            server.stop()
            assert [await cache.get(key) for _ in range(2)] == [None, None]
            assert cache.status() == "ok"
            await cache.put(key, FULL)
            assert cache.status() == "open"
            await asyncio.gather(*[cache.get(key) for _ in range(20)])
            server.start()
            await other.put(key, FULL)
            assert await cache.get(key) is None, "while the breaker is open nothing is asked"
            clock.now += 10
            assert await cache.get(key) == FULL
            assert cache.status() == "ok"

    asyncio.run(scenario())
    away, back = [record.getMessage() for record in caplog.records]
    assert f"Redis at 127.0.0.1:{server.port} is away (ConnectionError)" in away
    assert f"Redis at 127.0.0.1:{server.port} is back" in back


def test_pooled_connections_to_a_server_that_restarted_are_no_faults(server: RedisServer, key: CacheKey) -> None:
    async def scenario() -> None:
        async with opened(server.url, breaker=Breaker(1, 1000)) as cache:
            await asyncio.gather(*[cache.put(replace(key, question=str(number)), FULL) for number in range(100)])
            server.stop()
            server.start()
            await asyncio.gather(*[cache.put(replace(key, question=str(number)), FULL) for number in range(100)])
            assert await cache.get(replace(key, question="99")) == FULL
            assert cache.status() == "ok"

    asyncio.run(scenario())


def test_a_server_that_hangs_is_a_miss_and_blocks_nobody(server: RedisServer, key: CacheKey) -> None:
    clock = Clock()

    async def scenario() -> None:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with opened(server.url, timeout_s=0.05, breaker=Breaker(2, 10, clock)) as cache:
            async with opened(server.url) as patient:
                await patient.put(key, FULL)
                server.pause()
                running = asyncio.create_task(others())
                assert [await cache.get(key) for _ in range(2)] == [None, None]
                assert turns > 10
                assert cache.status() == "open"
                running.cancel()
                server.resume()
                assert await patient.get(key) == FULL
            await until_found(cache, key, clock)
            assert cache.status() == "ok"

    asyncio.run(scenario())


async def until_found(cache: RedisCache, key: CacheKey, clock: Clock) -> None:
    """A probe may still be late on a busy machine: the next one follows."""
    async with asyncio.timeout(PATIENT_S):
        while await cache.get(key) != FULL:
            clock.now += 10


def test_a_command_is_tried_once(key: CacheKey) -> None:
    async def scenario() -> None:
        asked = 0

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += bool(await reader.read(1000))
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            async with opened(f"redis://127.0.0.1:{port}") as cache:
                assert await cache.get(key) is None
        assert asked == 1

    asyncio.run(scenario())


def test_a_caller_who_hangs_up_is_no_fault_and_leaves_no_reply_behind(server: RedisServer, key: CacheKey) -> None:
    other = replace(key, tenant="other")

    async def scenario() -> None:
        async with opened(server.url, breaker=Breaker(1, 1000)) as cache:
            await cache.put(key, FULL)
            await cache.put(other, FAST)
            for turns in range(40):
                caller = asyncio.create_task(cache.get(key))
                for _ in range(turns):
                    await asyncio.sleep(0)
                caller.cancel()
                assert await cache.get(other) == FAST
                await asyncio.gather(caller, return_exceptions=True)
            assert cache.status() == "ok"

    asyncio.run(scenario())


@pytest.mark.parametrize("user", ["tuwen", ""])
def test_a_wrong_password_is_a_miss_and_is_not_logged(
    server: RedisServer, key: CacheKey, caplog: pytest.LogCaptureFixture, user: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "tuwen", "on", ">right-password", "~*", "+@all")
    url = f"redis://{user}:{{}}@127.0.0.1:{server.port}/0"

    async def scenario() -> None:
        async with opened(url.format("wrong-password"), breaker=Breaker(1, 1000)) as cache:
            await cache.put(key, FULL)
            assert await cache.get(key) is None
            assert cache.status() == "open"

    asyncio.run(scenario())
    assert "is away (AuthenticationError)" in caplog.text
    assert "wrong-password" not in caplog.text


def test_the_right_password_and_database_are_used(server: RedisServer, key: CacheKey) -> None:
    with Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "tuwen", "on", ">right/password", "~tuwen:answer:*", "+@all")

    async def scenario() -> None:
        url = f"redis://tuwen:right%2Fpassword@127.0.0.1:{server.port}/1"
        async with opened(url) as cache, opened(server.url) as elsewhere:
            await cache.put(key, FULL)
            assert await cache.get(key) == FULL
            assert await elsewhere.get(key) is None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url", ["http://x", "redis://:sec/ret@host:6379", "redis://host:99999", "redis://host?db=secret", ""]
)
def test_a_url_that_cannot_be_read_is_said_at_once_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="the Redis URL cannot be read") as refusal:
        RedisCache(url, 60)
    assert "sec" not in str(refusal.value)


def test_nothing_but_the_commands_is_said(server: RedisServer, key: CacheKey) -> None:
    """What an older server or a proxy would refuse, and what would cost round trips within the timeout."""

    async def scenario() -> None:
        async with opened(server.url) as cache:
            await cache.get(key)

    with Redis.from_url(server.url) as client:
        before = _calls(client)
        asyncio.run(scenario())
        after = _calls(client)
    assert {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)} == {
        "cmdstat_info": 1,
        "cmdstat_mget": 1,
    }


def _calls(client: Any) -> dict[str, int]:
    return {name: stats["calls"] for name, stats in client.info("commandstats").items()}
