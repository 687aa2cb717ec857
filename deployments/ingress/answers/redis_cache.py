"""Answers shared by every replica, in Redis or Valkey. Down or slow is a miss, and soon not even asked.

Give the server ``maxmemory`` with ``maxmemory-policy allkeys-lru``: full, by default, it refuses new answers.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from deployments.contract import Level
from deployments.ingress.answers.breaker import Breaker
from deployments.ingress.answers.cache import MAX_ANSWER_CHARS, CachedAnswer, CacheKey

logger = logging.getLogger("ray.serve")

R = TypeVar("R")

PREFIX = "tuwen:answer:"
MAX_CONNECTIONS = 32
TTL_JITTER = 0.1
"""Part of the TTL by which it varies, so that answers kept together do not all run out together."""


class RedisCache:
    """A full and a fast answer per key, each for ``ttl_s`` give or take a tenth, so that neither replaces the other."""

    name = "redis"

    def __init__(
        self,
        url: str,
        ttl_s: float,
        timeout_s: float = 0.05,
        breaker: Breaker | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Connects at the first use. Raises ValueError for a URL that cannot be read, ImportError without redis."""
        self._client = _client(url, timeout_s)
        self._ttl_s, self._timeout_s = ttl_s, timeout_s
        self._breaker, self._rng = breaker or Breaker(), rng or random.Random()

    async def get(self, key: CacheKey) -> CachedAnswer | None:
        names = [_name(key, Level.FULL), _name(key, Level.FAST)]
        values = await self._asked(lambda: self._client.mget(names))
        answers = (CachedAnswer.from_json(value, key) for value in values or () if value is not None)
        return next((answer for answer in answers if answer is not None), None)

    async def put(self, key: CacheKey, answer: CachedAnswer) -> None:
        if len(answer.text) > MAX_ANSWER_CHARS:
            return
        try:
            value = answer.to_json(key)
        except ValueError:
            logger.warning("answer cache: an answer that is no valid Unicode is not kept")
            return
        ttl_ms = max(1, round(1e3 * self._ttl_s * self._rng.uniform(1 - TTL_JITTER, 1 + TTL_JITTER)))
        await self._asked(lambda: self._client.set(_name(key, answer.level), value, px=ttl_ms))

    def status(self) -> Literal["ok", "open"]:
        return self._breaker.status

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _asked(self, command: Callable[[], Awaitable[R]]) -> R | None:
        """What Redis answered in time; None when it did not, or while the breaker is open."""
        if not self._breaker.allows():
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                answered = await command()
        except Exception as fault:  # of the client, of sockets, of TLS, of what it read: all of them are a miss
            # By its name only: a server without AUTH quotes the password in its complaint.
            logger.debug("answer cache: %s", type(fault).__name__)
            if self._breaker.failed():
                logger.warning(
                    "answer cache: %s is away (%s): answers are computed", self._address, type(fault).__name__
                )
            return None
        if self._breaker.succeeded():
            logger.info("answer cache: %s is back", self._address)
        return answered

    @property
    def _address(self) -> str:
        """Where the server is, without the credentials that its URL may hold."""
        where = self._client.connection_pool.connection_kwargs
        host, port = where.get("host", "localhost"), where.get("port", 6379)
        return f"Redis at {where.get('path') or f'{host}:{port}'}"


def _name(key: CacheKey, level: Level) -> str:
    """The braces keep a key's two names in one slot of a cluster, where one MGET can ask for both."""
    return f"{PREFIX}{{{key.digest}}}:{level.value}"


def _client(url: str, timeout_s: float) -> Any:
    """A client that tries once, and that with RESP2 and no driver name says nothing first but AUTH and SELECT."""
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
    except ValueError:  # its text can quote a part of the password
        raise ValueError(
            "the Redis URL cannot be read: write redis://[user:password@]host[:port][/database], with special"
            " characters of the password percent-encoded"
        ) from None
    return Redis.from_pool(pool)
