"""Answers given before: what they hang on, when one may be given again, and the store of one process.

A store that is away, slow or damaged is a miss, never an error.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError

from deployments.contract import Box, FinishReason, Level, Turn, Usage
from deployments.recent import Recent

MAX_ANSWER_CHARS = 20_000
"""A longer answer is not kept: the bound on what an entry can take in any store."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Everything that an answer hangs on; two requests with equal keys would be answered alike.

    ``tenant`` keeps one customer from learning by the time an answer takes what another has asked (CVE-2025-46570).
    ``picture`` is a digest of the pixels and of how pictures are prepared, ``parts`` are the boxes in it that the model
    was shown; ``serving`` is a digest of prompt, model, revision, quantization and decoding. ``masked``: personal
    numbers are masked in the answer. ``turns`` is what was said before the question.
    """

    tenant: str
    picture: str
    question: str
    serving: str
    max_new_tokens: int | None
    masked: bool
    turns: tuple[Turn, ...] = ()
    parts: tuple[Box, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the fields as a JSON list, in which no two different keys read the same."""
        turns = [[turn.role, turn.text] for turn in self.turns]
        asked = [self.question, self.max_new_tokens, self.masked, turns]
        fields: list[Any] = [self.tenant, self.picture, self.parts, self.serving, asked]
        return sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer as it was first given. ``generate_ms`` is what it cost then, and is saved each time it is found."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    text: str
    level: Level
    finish_reason: FinishReason
    usage: Usage
    tiles: int
    generate_ms: float

    def __post_init__(self) -> None:
        if self.level is Level.HOLDING:
            raise ValueError("the holding text is not an answer: it is never kept")

    def to_json(self, key: CacheKey) -> bytes:
        """The answer with its key's digest and the version of the format. Raises ValueError: it has no UTF-8 form."""
        return _STORED.dump_json(_Stored(1, key.digest, self))

    @staticmethod
    def from_json(data: bytes, key: CacheKey) -> "CachedAnswer | None":
        """The answer to ``key``; None for a value of another version, of another key, or that cannot be read."""
        try:
            stored = _STORED.validate_json(data)
        except ValidationError:
            return None
        # A connection on which two callers' replies got mixed up must not give one customer another's answer.
        return stored.answer if stored.key == key.digest else None


@dataclass(frozen=True, slots=True)
class _Stored:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    key: str
    answer: CachedAnswer


_STORED = TypeAdapter(_Stored)


def may_serve(found: Level, now: Level) -> bool:
    """Whether an answer of level ``found`` may be given while the service is at ``now``.

    A full answer always may, even instead of the holding text; a fast one only where no full one would be computed.
    """
    return found is Level.FULL or (found is Level.FAST and now is not Level.FULL)


class AnswerCache(Protocol):
    """Where answers are kept. Neither ``get`` nor ``put`` ever raises."""

    name: str

    async def get(self, key: CacheKey) -> CachedAnswer | None:
        """The best answer kept, a full one before a fast one; whether it may be given is for ``may_serve``."""
        ...

    async def put(self, key: CacheKey, answer: CachedAnswer) -> None:
        """Keep an answer; a fast one never takes a full one's place."""
        ...

    def status(self) -> Literal["ok", "open"]:
        """``open`` while the store is away and is not even asked."""
        ...


class MemoryCache:
    """The answers of this process, so many and so many bytes at most, the least recently used out first.

    Each is kept for ``ttl_s``.
    """

    name = "memory"

    def __init__(
        self,
        capacity: int,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
        most_bytes: int = 64 * 2**20,
    ) -> None:
        self._ttl_s, self._clock = ttl_s, clock
        self._entries: Recent[str, tuple[float, CachedAnswer]] = Recent(capacity, most_bytes)

    async def get(self, key: CacheKey) -> CachedAnswer | None:
        return self._alive(key.digest)

    async def put(self, key: CacheKey, answer: CachedAnswer) -> None:
        digest = key.digest
        kept = self._alive(digest)
        if len(answer.text) > MAX_ANSWER_CHARS:
            return
        if kept is not None and kept.level is Level.FULL and answer.level is Level.FAST:
            return
        self._entries.put(digest, (self._clock() + self._ttl_s, answer))

    def status(self) -> Literal["ok", "open"]:
        return "ok"

    @property
    def held_bytes(self) -> int:
        """What all of it takes of memory."""
        return self._entries.held_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def _alive(self, digest: str) -> CachedAnswer | None:
        expires, answer = self._entries.get(digest) or (0.0, None)
        if answer is not None and self._clock() >= expires:
            self._entries.drop(digest)
            return None
        return answer
