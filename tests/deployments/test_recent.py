"""What a cache holds: the most recently used, within both of its bounds, whatever strangers put in."""

import tracemalloc
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.contract import Level, Usage, Verdict
from deployments.ingress.answers.cache import CachedAnswer, CacheKey
from deployments.ingress.records import Record, Timing
from deployments.recent import ENTRY_BYTES, Recent, size_of


@dataclass(frozen=True, slots=True)
class Pair:
    left: str
    right: tuple[int, ...]


steps = st.lists(
    st.tuples(st.sampled_from(["put", "get", "drop"]), st.sampled_from("abcde"), st.integers(0, 3000)), max_size=60
)


@given(steps, st.integers(0, 4), st.integers(0, 6000))
def test_any_steps_leave_the_latest_within_both_bounds(steps, entries, most_bytes):
    recent, order = Recent[str, str](entries, most_bytes), dict[str, str]()
    for step, key, length in steps:
        known = order.pop(key, None)
        if step == "get":
            assert recent.get(key) == known
            if known is not None:
                order[key] = known
        elif step == "drop":
            recent.drop(key)
        else:
            recent.put(key, "x" * length)
            order[key] = "x" * length
            if entries == 0 or _size(key, order[key]) > most_bytes:
                del order[key]
        while len(order) > entries or sum(_size(k, v) for k, v in order.items()) > most_bytes:
            del order[next(iter(order))]
        assert recent.held_bytes == sum(_size(k, v) for k, v in order.items())
        assert len(recent) == len(order)
    assert {key: recent.peek(key) for key in order} == order


def _size(key, value):
    return ENTRY_BYTES + size_of(key) + size_of(value)


def test_what_is_looked_at_gets_no_younger_and_lower_bounds_hold_at_once():
    recent = Recent[str, int](3, 10_000)
    for place, key in enumerate("abc"):
        recent.put(key, place)
    assert recent.peek("a") == 0
    recent.get("b")
    recent.bound(1, 10_000)
    assert [recent.peek(key) for key in "abc"] == [None, 1, None]
    recent.bound(1, 10)
    assert (len(recent), recent.held_bytes) == (0, 0)


def test_what_is_cleared_takes_no_room():
    recent = Recent[str, int](3, 10_000)
    recent.put("a", 1)
    recent.clear()
    assert (recent.get("a"), len(recent), recent.held_bytes) == (None, 0, 0)


def test_a_size_counts_all_that_is_held():
    assert size_of("字" * 1000) > 2000
    assert size_of(Pair("a" * 500, (10**9,) * 10)) > 500 + 10 * 32
    assert size_of(None) == size_of(Level.FULL) == size_of(True) == 0


def answer_of(number):
    usage = Usage(1000 + number, 900 + number, 300 + number)
    return 1000.0 + number, CachedAnswer(
        "字" * (number % 200) + str(number), Level.FULL, "stop", usage, 3, 8.5 * number
    )


def record_of(number):
    timing, flags = Timing(300, 300 + number, 1000, 2000, 4000 + number), (Verdict(f"label {number}", 0.1, "cards"),)
    return Record("public", f"request {number}", 1000.0 + number, 200, "tuwen", timing, Level.FAST, flags=flags)


@pytest.mark.parametrize("value_of", [answer_of, record_of])
def test_what_is_counted_is_what_is_taken_of_memory(value_of):
    """Never less; words and numbers that entries share are counted with each."""
    tracemalloc.start()
    recent = Recent(10**6, 10**9)
    for number in range(5000):
        recent.put(CacheKey("t", "p", str(number), "s", None, False).digest, value_of(number))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.65 * recent.held_bytes <= taken <= 1.1 * recent.held_bytes
