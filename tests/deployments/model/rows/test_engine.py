"""The row engine under arrivals and collapses: answers as alone, told as they come, within the budget of a step."""

import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.contract import Level
from deployments.model.rows import batch
from deployments.model.rows import engine as row_engine
from deployments.model.rows.beams import token_ids

from .asking import request_to
from .stepping import SETTINGS, Stepped, all_rows_are_free, greedy_from, question, replace_settings


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from((1, 1, 2, 4)), st.integers(1, 14), st.integers(0, 5)),
        min_size=1,
        max_size=7,
    )
)
def test_whenever_requests_arrive_each_is_answered_as_if_alone(loaded, alone, memory, arrivals):
    """A hundred schedules for each of two models: (steps after the one before, beams, tokens, which question)."""
    engine = Stepped(loaded, replace_settings(collapse=False))
    futures = []
    for pause, width, tokens, which in arrivals:
        request = question(loaded, which, beam_width=width, max_new_tokens=tokens)
        engine.step(pause)
        futures.append((request, engine.submit(request)))
    engine.run()
    for request, future in futures:
        key = (id(loaded), request.prompt.input_ids.numpy().tobytes(), request.decoding)
        if key not in memory:
            memory[key] = alone(loaded, request).token_ids
        assert future.result(timeout=60).token_ids == memory[key]
    assert all_rows_are_free(engine)


@pytest.fixture(scope="module")
def memory():
    """What generate has said already."""
    return {}


def test_a_request_alone_waits_for_its_picture_only(loaded, monkeypatch, engine):
    """Not for the next look at those that wait."""
    monkeypatch.setattr("deployments.model.rows.engine.LOOK_S", 3600)
    assert engine.submit(question(loaded, 1, max_new_tokens=3)).result(timeout=60).token_ids


def test_a_collapsed_search_goes_on_greedily_from_its_best_hypothesis(loaded, alone, stepped):
    """Its first tokens are the best beam's at the collapse, the others those of a greedy search that begins with them."""
    request = question(loaded, 1, beam_width=4, max_new_tokens=30)
    future = stepped.submit(request)
    stepped.step(9)
    search = stepped.batch.decoding[0].search
    prefix = token_ids(search.tips[0])
    assert len(prefix) == search.generated > 3
    stepped.batch.collapse(stepped.batch.decoding[0])
    assert stepped.batch.free == SETTINGS.rows - 1
    stepped.run()
    answer = future.result(timeout=60)
    assert answer.level == Level.FAST
    assert answer.token_ids[: len(prefix)] == prefix
    assert answer.token_ids == greedy_from(loaded, alone, request, prefix)


def test_a_newcomer_gets_rows_in_the_next_step_though_beams_hold_them_all(loaded, stepped):
    holders = [stepped.submit(question(loaded, n, beam_width=4, max_new_tokens=40)) for n in (1, 2)]
    stepped.step(4)
    assert not stepped.batch.free
    newcomer = stepped.submit(question(loaded, 4, max_new_tokens=2))
    stepped.step(2)
    assert newcomer.result(timeout=0).level == Level.FAST  # two tokens in two steps
    stepped.run()
    assert sorted(future.result(timeout=60).level for future in holders) == [Level.FAST, Level.FULL]


def test_a_search_narrower_than_asked_is_generate_s_and_is_not_called_full(loaded, alone, stepped):
    requests = [question(loaded, n, beam_width=4) for n in (1, 2, 4)]
    futures = [stepped.submit(request) for request in requests]
    stepped.run()
    found = [future.result(timeout=0) for future in futures]
    narrow = [replace(request, decoding=replace(request.decoding, beam_width=width))
              for request, width in zip(requests, (4, 3, 1), strict=True)]  # fmt: skip
    assert [answer.token_ids for answer in found] == [alone(loaded, request).token_ids for request in narrow]
    assert [answer.level for answer in found] == [Level.FULL, Level.FAST, Level.FAST]


def test_with_fewer_rows_than_beams_no_answer_is_full(loaded, alone):
    stepped, request = Stepped(loaded, replace_settings(rows=3)), question(loaded, 1, beam_width=4)
    future = stepped.submit(request)
    stepped.run()
    narrow = replace(request, decoding=replace(request.decoding, beam_width=3))
    assert future.result(timeout=0).token_ids == alone(loaded, narrow).token_ids
    assert future.result(timeout=0).level == Level.FAST


def test_a_search_whose_prompt_is_still_taken_in_gives_its_rows_up(loaded, alone):
    stepped = Stepped(loaded, replace_settings(rows=4, prefill_tokens=16))
    request = request_to(loaded, "a long question " * 3, beam_width=4)
    future = stepped.submit(request)
    stepped.step()
    assert not stepped.batch.free
    assert stepped.batch.prefilling
    newcomer = request_to(loaded, "?" * 20, max_new_tokens=1)
    told = stepped.submit(newcomer)
    while stepped.batch.waiting:
        assert stepped.batch.prefilling
        stepped.step()
    assert len(stepped.batch.prefilling[0].rows) == 1
    stepped.run()
    greedy = replace(request, decoding=replace(request.decoding, beam_width=1))
    assert future.result(timeout=0).token_ids == alone(loaded, greedy).token_ids
    assert future.result(timeout=0).level == Level.FAST
    assert told.result(timeout=0).token_ids == alone(loaded, newcomer).token_ids


def test_more_beam_searches_than_rows_are_all_answered(loaded, engine):
    futures = [engine.submit(question(loaded, n % 6, beam_width=4)) for n in range(40)]
    assert all(future.result(timeout=120).token_ids for future in futures)
    assert all_rows_are_free(engine)


def test_an_answer_ends_where_its_row_does(loaded, engine):
    request = request_to(loaded, "long " * 20, max_new_tokens=1000)
    answer = engine.submit(request).result(timeout=60)
    assert answer.finish_reason == "length"
    assert request.prompt.tokens + len(answer.token_ids) == SETTINGS.length


def test_a_greedy_answer_is_told_as_it_comes(loaded, engine):
    told = []
    request = replace(question(loaded, 1, max_new_tokens=9), on_tokens=told.append)
    answer = engine.submit(request).result(timeout=60)
    assert [len(ids) for ids in told] == [1] * 9
    assert sum(told, ()) == answer.token_ids


def test_a_beam_search_is_told_from_its_collapse_on(loaded, stepped):
    told = []
    request = replace(question(loaded, 1, beam_width=4, max_new_tokens=20), on_tokens=told.append)
    future = stepped.submit(request)
    stepped.step(5)
    assert told == []
    stepped.batch.collapse(stepped.batch.decoding[0])
    stepped.run()
    answer = future.result(timeout=60)
    assert len(told[0]) > 3
    assert {len(ids) for ids in told[1:]} == {1}
    assert sum(told, ()) == answer.token_ids


def test_a_step_takes_no_more_tokens_than_its_budget_whatever_waits(loaded, alone, monkeypatch):
    stepped = Stepped(loaded, SETTINGS.model_copy(update={"prefill_tokens": 20}))
    steps, real = [], stepped.family.hidden

    def counted(embeddings, *more):
        steps[-1] += len(embeddings)
        return real(embeddings, *more)

    monkeypatch.setattr(stepped.family, "hidden", counted)
    requests = [question(loaded, n, beam_width=width) for n, width in enumerate((4, 1, 2, 1, 4, 1, 1, 2))]
    futures = [stepped.submit(request) for request in requests]
    while any(stepped.batch.load()):
        steps.append(0)
        stepped.step()
    assert max(steps) == 20
    assert all(future.result(timeout=0).token_ids for future in futures)


def test_a_step_whose_prompts_are_each_tried_by_themselves_keeps_its_budget(loaded, monkeypatch):
    stepped = Stepped(loaded, SETTINGS.model_copy(update={"prefill_tokens": 30}))
    steps, real = [], stepped.family.hidden

    def failing(embeddings, positions, attention):
        if len(getattr(attention, "_pieces", ())) > 1:
            raise LookupError("injected")
        steps[-1] += len(embeddings)
        return real(embeddings, positions, attention)

    monkeypatch.setattr(stepped.family, "hidden", failing)
    futures = [stepped.submit(question(loaded, n)) for n in range(8)]
    while any(stepped.batch.load()):
        steps.append(0)
        stepped.step()
    assert max(steps) == 30
    assert all(future.result(timeout=0).token_ids for future in futures)


def test_a_step_feeds_the_first_rows_whoever_has_left(loaded, alone, stepped, monkeypatch):
    fed, real = [], stepped.batch.forward
    monkeypatch.setattr(stepped.batch, "forward", lambda one: (fed.append(one.rows.tolist()), real(one))[1])
    short = [stepped.submit(question(loaded, n, max_new_tokens=2)) for n in range(6)]
    request = question(loaded, 1, beam_width=2, max_new_tokens=12)
    long = stepped.submit(request)
    stepped.run()
    assert all(future.result(timeout=0) for future in short)
    assert [0, 1] in fed
    assert all(rows == list(range(len(rows))) for rows in fed)
    assert long.result(timeout=0).token_ids == alone(loaded, request).token_ids


def test_pictures_are_hashed_by_whoever_asks_and_not_while_rows_wait(loaded, engine, monkeypatch):
    hashed, real = [], row_engine.picture_key

    def noted(shown):
        hashed.append(threading.current_thread())
        return real(shown)

    monkeypatch.setattr(row_engine, "picture_key", noted)
    assert engine.submit(question(loaded, 1)).result(timeout=60)
    assert hashed == [threading.current_thread()]


def test_to_tell_a_long_answer_each_of_its_tokens_is_read_once(loaded, engine, monkeypatch):
    read, real = [], batch.token_ids

    def counted(*arguments):
        ids = real(*arguments)
        read.append(len(ids))
        return ids

    monkeypatch.setattr(batch, "token_ids", counted)
    request = replace(question(loaded, 1, max_new_tokens=100), on_tokens=lambda _: None)
    tokens = engine.submit(request).result(timeout=60).usage.completion_tokens
    assert sum(read) <= 2 * (tokens + 1)  # once for the listener, once for the answer


def test_the_time_in_which_its_pictures_are_seen_is_work_and_no_waiting(loaded, stepped):
    def times_of(took_s):
        stepped.took_s = took_s
        stepped.batch.features.clear()
        stepped.batch.prefiller.prefixes.clear()
        future = stepped.submit(question(loaded, 1, max_new_tokens=1))
        stepped.run()
        return future.result(timeout=0)

    at_once, all_the_while = times_of(0.0), times_of(3600.0)  # more than it has waited: begun for somebody else
    assert at_once.queue_ms > 0
    assert all_the_while.queue_ms == 0
    assert all_the_while.generate_ms < 3600e3
