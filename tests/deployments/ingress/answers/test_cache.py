"""What an answer hangs on, which one may be given, and the store of one process."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.contract import Level, Turn, Usage
from deployments.ingress.answers.cache import MAX_ANSWER_CHARS, CachedAnswer, CacheKey, MemoryCache, may_serve

KEY = CacheKey("shop", "a" * 64, "这是什么？", "b" * 64, None, True)
FULL = CachedAnswer("一张运单", Level.FULL, "stop", Usage(20, 16, 4), 1, 81.5)
FAST = replace(FULL, text="运单", level=Level.FAST)

texts = st.text(max_size=6)
turns = st.lists(st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), texts), max_size=2).map(tuple)
boxes = st.lists(st.tuples(*[st.integers(0, 2)] * 4), max_size=2).map(tuple)
keys = st.builds(CacheKey, texts, texts, texts, texts, st.none() | st.integers(1, 3), st.booleans(), turns, boxes)


@given(keys, keys)
def test_only_equal_keys_have_equal_digests(one: CacheKey, other: CacheKey) -> None:
    assert (one.digest == other.digest) == (one == other)


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": "x"},
        {"picture": "x"},
        {"question": "x"},
        {"serving": "x"},
        {"max_new_tokens": 1},
        {"masked": False},
        {"turns": (Turn("system", "x"),)},
        {"parts": ((0, 0, 9, 9),)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_field_tells_answers_apart(changed: dict[str, Any]) -> None:
    assert replace(KEY, **changed).digest != KEY.digest


def test_neighbouring_fields_cannot_be_confused() -> None:
    assert replace(KEY, tenant="ab", picture="c").digest != replace(KEY, tenant="a", picture="bc").digest
    assert replace(KEY, tenant='a","b', picture="c").digest != replace(KEY, tenant="a", picture='b","c').digest


def test_a_digest_is_the_same_in_every_process() -> None:
    key = CacheKey("t", "p", "问", "s", 8, False)
    assert key.digest == "a3bc761238908de750f7a7e06f13ea596c607a35d01f1e322abfb493db5dd36e"


@pytest.mark.parametrize(
    ("found", "now", "may"),
    [
        (Level.FULL, Level.FULL, True),
        (Level.FULL, Level.FAST, True),
        (Level.FULL, Level.HOLDING, True),
        (Level.FAST, Level.FULL, False),
        (Level.FAST, Level.FAST, True),
        (Level.FAST, Level.HOLDING, True),
        (Level.HOLDING, Level.FULL, False),
        (Level.HOLDING, Level.FAST, False),
        (Level.HOLDING, Level.HOLDING, False),
    ],
)
def test_which_answer_may_be_given(found: Level, now: Level, may: bool) -> None:
    assert may_serve(found, now) is may


def test_the_holding_text_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="never kept"):
        replace(FULL, level=Level.HOLDING)


@pytest.mark.parametrize("answer", [FULL, FAST, replace(FULL, finish_reason="length", text='"\\\n\0😀')])
def test_an_answer_survives_its_json(answer: CachedAnswer) -> None:
    assert CachedAnswer.from_json(answer.to_json(KEY), KEY) == answer


def _stored(**changed: Any) -> bytes:
    return json.dumps(json.loads(FULL.to_json(KEY)) | changed).encode()


def _answer(**changed: Any) -> bytes:
    return _stored(answer=json.loads(FULL.to_json(KEY))["answer"] | changed)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b"\xff\xfe",
        FULL.to_json(KEY)[:-3],
        FULL.to_json(replace(KEY, tenant="other")),
        _stored(version=2),
        _stored(more=1),
        _stored(answer=None),
        _answer(level="holding"),
        _answer(level="best"),
        _answer(finish_reason="error"),
        _answer(tiles="1"),
        _answer(tiles=True),
        _answer(text=None),
        _answer(more=1),
        _answer(usage={"prompt_tokens": 1}),
    ],
)
def test_what_cannot_be_read_is_a_miss(data: bytes) -> None:
    assert CachedAnswer.from_json(data, KEY) is None


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _got(cache: MemoryCache, key: CacheKey = KEY) -> CachedAnswer | None:
    return asyncio.run(cache.get(key))


def _put(cache: MemoryCache, answer: CachedAnswer, key: CacheKey = KEY) -> None:
    asyncio.run(cache.put(key, answer))


def test_memory_gives_back_what_was_put_until_it_is_too_old() -> None:
    cache = MemoryCache(10, ttl_s=60, clock=(clock := Clock()))
    assert _got(cache) is None
    _put(cache, FULL)
    clock.now += 59
    assert _got(cache) == FULL
    assert _got(cache, replace(KEY, tenant="other")) is None
    clock.now += 1
    assert _got(cache) is None
    assert len(cache) == 0
    assert (cache.name, cache.status()) == ("memory", "ok")


def test_memory_never_gives_up_a_full_answer_for_a_fast_one() -> None:
    cache = MemoryCache(10, ttl_s=60, clock=(clock := Clock()))
    _put(cache, FAST)
    assert _got(cache) == FAST
    _put(cache, FULL)
    _put(cache, FAST)
    assert _got(cache) == FULL
    clock.now += 60  # but it may follow one that is too old
    _put(cache, FAST)
    assert _got(cache) == FAST


def test_memory_keeps_the_most_recently_used() -> None:
    cache = MemoryCache(2, ttl_s=60)
    first, second, third = (replace(KEY, question=question) for question in "abc")
    _put(cache, FULL, first)
    _put(cache, FULL, second)
    _got(cache, first)
    _put(cache, FULL, third)
    assert [_got(cache, key) is not None for key in (first, second, third)] == [True, False, True]
    assert len(cache) == 2


def test_memory_keeps_no_overlong_answer() -> None:
    cache = MemoryCache(2, ttl_s=60)
    _put(cache, replace(FULL, text="字" * (MAX_ANSWER_CHARS + 1)))
    assert _got(cache) is None
    _put(cache, replace(FULL, text="字" * MAX_ANSWER_CHARS))
    assert _got(cache) is not None


def test_memory_of_no_capacity_keeps_nothing() -> None:
    _put(cache := MemoryCache(0, ttl_s=60), FULL)
    assert _got(cache) is None


def test_memory_is_bounded_by_what_answers_take_not_by_how_many_there_are() -> None:
    cache = MemoryCache(10_000, ttl_s=60, most_bytes=2**20)
    long = replace(FULL, text="字" * MAX_ANSWER_CHARS)
    for number in range(200):
        _put(cache, replace(long, text=f"{number}" + long.text[9:]), replace(KEY, question=str(number)))
    assert cache.held_bytes <= 2**20
    assert 15 < len(cache) < 27
    assert _got(cache, replace(KEY, question="199")) is not None
    assert _got(cache, replace(KEY, question="100")) is None
    for number in range(3000):  # a short one takes less than a hundredth of it
        _put(cache, replace(FULL, text=f"短{number}"), replace(KEY, question=f"short {number}"))
    assert cache.held_bytes <= 2**20
    assert len(cache) > 1000
