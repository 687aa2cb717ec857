"""An answer that says the same again and again is ended, and told from one that its limit cuts."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.model.engine import ended
from deployments.model.repetition import EVERY, LEAST_TIMES, LEAST_TOKENS, LONGEST_PERIOD, is_due, repeats

LESSONS = Path(__file__).resolve().parents[3] / "demo" / "samples" / "samples.json"


@given(
    st.lists(st.integers(0, 9), max_size=30),
    st.lists(st.integers(0, 9), min_size=1, max_size=LONGEST_PERIOD),
    st.integers(0, LONGEST_PERIOD),
)
def test_any_n_gram_said_often_enough_is_one_wherever_it_breaks_off(before, said, more):
    times = max(LEAST_TIMES, -(-LEAST_TOKENS // len(said)))
    assert repeats([*before, *said * times, *(said * 2)[: more % len(said)]])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=LONGEST_PERIOD), st.integers(10, 19))
def test_what_ends_the_repetition_makes_it_none(said, other):
    assert not repeats([*said * 100, other])


@pytest.mark.parametrize(
    "ids",
    [[], [7] * (LEAST_TOKENS - 1), list(range(40)) * (LEAST_TIMES - 1), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] * 5],
    ids=["nothing", "a row of zeros", "a long line five times", "a short line five times"],
)
def test_less_than_that_is_an_answer(ids):
    assert not repeats(ids)


@pytest.mark.parametrize("entry", json.loads(LESSONS.read_text()), ids=lambda entry: entry["file"])
def test_no_text_of_the_samples_is_one(entry):
    assert not repeats(list(json.dumps(entry, ensure_ascii=False)))


def test_it_is_looked_for_now_and_then():
    assert [count for count in range(200) if is_due(count)] == list(range(LEAST_TOKENS, 200, EVERY))


def test_why_an_answer_ended():
    assert ended([1, 2, 9, 9], {9}) == ((1, 2), "stop")
    assert ended([1, 2], {9}) == ((1, 2), "length")
    assert ended([5] * 80, {9}) == ((5,) * 80, "repetition")
    assert ended([5] * 80 + [9], {9}) == ((5,) * 80, "stop")
