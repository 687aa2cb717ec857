"""The row engine under arrivals, collapses, cancellations, deadlines and faults."""

import threading
import time
from concurrent.futures import CancelledError
from dataclasses import replace
from itertools import count

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.contract import Level
from deployments.errors import DeadlineExceeded, Overloaded, QuestionTooLong, Unavailable
from deployments.model.health import MOST_FAILURES
from deployments.model.rows import batch, decode
from deployments.model.rows import engine as row_engine
from deployments.model.rows.batch import Batch
from deployments.model.rows.beams import token_ids
from deployments.model.rows.engine import STUCK_AFTER_S, RowEngine, begun
from deployments.model.rows.prefill import Prefiller
from deployments.model.rows.sight import Seen
from deployments.model.settings import RowSettings

from .asking import picture, request_to

SETTINGS = RowSettings(rows=8, length=192)


class Stepped:
    """A batch whose steps the test takes, with an engine's ``submit``."""

    def __init__(self, loaded, settings, clock=time.time):
        self.loaded, self.settings, self.ids = loaded, settings, count()
        self.family, self.took_s = loaded.take_apart(), 0.0
        self.batch = Batch(loaded, self.family, settings, clock, self.look)

    def look(self, key, picture):
        """At once, where an engine has a thread for it."""
        self.batch.take(Seen(key, self.family.features([picture])[0], self.took_s))

    def submit(self, request):
        sequence = begun(next(self.ids), request, self.loaded, self.settings)
        self.batch.add(sequence)
        return sequence.future

    def step(self, times=1):
        """So many steps, as long as there is anything to do."""
        with torch.inference_mode():
            for _ in range(times):
                if any(self.batch.load()):
                    self.batch.step()

    def run(self):
        self.step(10_000)


@pytest.fixture
def stepped(loaded):
    return Stepped(loaded, SETTINGS)


@pytest.fixture
def engine(loaded):
    engine = RowEngine(loaded, SETTINGS)
    yield engine
    engine.close()


def all_rows_are_free(engine):
    return engine.batch.free == SETTINGS.rows and engine.batch.load() == (0, 0)


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


def replace_settings(**changes):
    return SETTINGS.model_copy(update=changes)


def question(loaded, which, **decoding):
    shown = (picture(which),) if which % 3 else ()
    return request_to(loaded, f"question number {which}", shown, **decoding)


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


def greedy_from(loaded, alone, request, prefix):
    """What generate continues with after the prompt and these tokens."""
    prompt, ids = request.prompt, torch.tensor([prefix])
    longer = replace(
        prompt,
        input_ids=torch.cat([prompt.input_ids, ids], 1),
        mm_token_type_ids=torch.cat([prompt.mm_token_type_ids, torch.zeros_like(ids)], 1),
    )
    decoding = replace(request.decoding, beam_width=1, max_new_tokens=request.decoding.max_new_tokens - len(prefix))
    return prefix + alone(loaded, replace(request, prompt=longer, decoding=decoding)).token_ids


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


def test_a_cancelled_request_gives_its_rows_back_at_the_next_step(loaded, alone, stepped):
    gone = stepped.submit(question(loaded, 1, beam_width=4, max_new_tokens=100))
    staying = question(loaded, 2, max_new_tokens=20)
    other = stepped.submit(staying)
    stepped.step(5)
    gone.cancel()
    stepped.step(2)
    assert stepped.batch.free == SETTINGS.rows - 1
    stepped.run()
    with pytest.raises(CancelledError):
        gone.result(timeout=60)
    assert other.result(timeout=60).token_ids == alone(loaded, staying).token_ids


def test_past_its_deadline_a_request_ends_waiting_or_running(loaded):
    now = [0.0]
    engine = Stepped(loaded, SETTINGS, clock=lambda: now[0])
    running = engine.submit(replace(question(loaded, 1, max_new_tokens=100), deadline=5.0))
    engine.step(4)
    now[0] = 6.0
    late = engine.submit(replace(question(loaded, 2), deadline=5.5))
    engine.step()
    for future in (running, late):
        with pytest.raises(DeadlineExceeded):
            future.result(timeout=60)
    assert all_rows_are_free(engine)


def test_a_prompt_that_fills_a_row_is_refused_with_the_figures(loaded, engine):
    with pytest.raises(QuestionTooLong, match=r"have \d+ tokens, more than the 191 that"):
        engine.submit(request_to(loaded, "long " * 60))


def test_an_answer_ends_where_its_row_does(loaded, engine):
    request = request_to(loaded, "long " * 20, max_new_tokens=1000)
    answer = engine.submit(request).result(timeout=60)
    assert answer.finish_reason == "length"
    assert request.prompt.tokens + len(answer.token_ids) == SETTINGS.length


def test_one_that_cannot_be_prefilled_fails_alone(loaded, stepped):
    """Its picture does not fit its prompt: the batch it came with is answered."""
    good = [stepped.submit(question(loaded, 1))]
    poisoned = stepped.submit(replace(question(loaded, 4), pictures=(picture(4, 28, 28),)))
    good.append(stepped.submit(question(loaded, 2)))
    stepped.run()
    with pytest.raises(ValueError, match=r"must (match|be uint8)"):
        poisoned.result(timeout=60)
    assert all(future.result(timeout=60).token_ids for future in good)


def test_out_of_memory_the_request_is_tried_again_without_beams(loaded, engine, monkeypatch):
    real, failures = Prefiller.run, [2]

    def failing(prefiller, group, room):
        if failures[0]:
            failures[0] -= 1
            raise torch.OutOfMemoryError("injected")
        return real(prefiller, group, room)

    monkeypatch.setattr(Prefiller, "run", failing)
    answer = engine.submit(question(loaded, 1, beam_width=4)).result(timeout=60)
    assert answer.level == Level.FAST
    assert engine.batch.memory_errors == 2
    assert engine.submit(question(loaded, 1, beam_width=4)).result(timeout=60).level == Level.FULL
    assert all_rows_are_free(engine)


def test_out_of_memory_for_good_it_is_refused_and_the_engine_lives(loaded, engine, monkeypatch):
    def failing(forward, running):
        if any(len(sequence.request.prompt.input_ids[0]) > 90 for sequence in running):
            raise torch.OutOfMemoryError("injected")
        return real(forward, running)

    real = decode.step
    monkeypatch.setattr(decode, "step", failing)
    small, large = (engine.submit(request_to(loaded, "q" * n, beam_width=4)) for n in (3, 90))
    with pytest.raises(Overloaded, match="out of memory"):
        large.result(timeout=60)
    assert small.result(timeout=60).token_ids
    assert all_rows_are_free(engine)


def test_an_engine_that_does_not_finish_a_step_says_so_and_one_that_slept_does_not(loaded, engine, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    real = decode.step

    def hanging(*arguments):
        begun.set()
        go_on.wait(timeout=60)
        return real(*arguments)

    monkeypatch.setattr(decode, "step", hanging)
    engine._beat -= 2 * STUCK_AFTER_S
    future = engine.submit(question(loaded, 1, max_new_tokens=3))
    engine.check()
    begun.wait(timeout=60)
    engine._beat -= 2 * STUCK_AFTER_S
    with pytest.raises(RuntimeError, match="not finished a step for 60 s"):
        engine.check()
    go_on.set()
    assert future.result(timeout=60).token_ids
    engine.check()


def test_an_engine_that_fails_every_request_says_so(loaded, engine, monkeypatch):
    def failing(*_):
        raise RuntimeError("the sizes must match")

    monkeypatch.setattr(decode, "step", failing)
    for _ in range(MOST_FAILURES):
        engine.check()
        with pytest.raises(RuntimeError, match="must match"):
            engine.submit(question(loaded, 1)).result(timeout=60)
    with pytest.raises(RuntimeError, match="5 requests have failed"):
        engine.check()


def test_an_engine_whose_thread_dies_fails_what_it_holds_and_says_so(loaded, monkeypatch):
    engine = RowEngine(loaded, SETTINGS)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(engine.batch, "_make_room", lambda: 1 / 0)
    with pytest.raises(Unavailable):
        engine.submit(question(loaded, 1)).result(timeout=60)
    engine._thread.join(timeout=60)
    with pytest.raises(Unavailable):
        engine.submit(question(loaded, 1))
    with pytest.raises(RuntimeError, match="died"):
        engine.check()


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


def test_a_listener_that_raises_fails_its_own_request_and_is_told_nothing_twice(loaded, engine, alone):
    told = []

    def raising(ids):
        told.append(ids)
        if len(told) == 3:
            raise LookupError("nobody is there")

    good, bad = question(loaded, 2, max_new_tokens=9), question(loaded, 1, max_new_tokens=9)
    futures = [engine.submit(replace(bad, on_tokens=raising)), engine.submit(good)]
    with pytest.raises(LookupError, match="nobody is there"):
        futures[0].result(timeout=60)
    assert futures[1].result(timeout=60).token_ids == alone(loaded, good).token_ids
    assert len(told) == 3
    assert all_rows_are_free(engine)


def test_a_listener_that_raises_when_its_beams_collapse_fails_its_own_request(loaded, stepped):
    def raising(_):
        raise LookupError("nobody is there")

    future = stepped.submit(replace(question(loaded, 1, beam_width=4, max_new_tokens=20), on_tokens=raising))
    stepped.step(5)
    stepped.batch.collapse(stepped.batch.decoding[0])
    with pytest.raises(LookupError, match="nobody is there"):
        future.result(timeout=0)
    assert all_rows_are_free(stepped)


def test_an_answer_that_cannot_be_written_fails_its_own_request(loaded, engine, alone, monkeypatch):
    good, bad = question(loaded, 2), question(loaded, 1)
    spoilt, answer = alone(loaded, bad).token_ids, alone(loaded, good).token_ids
    real = loaded.tokenizer.decode

    def decode_(ids, **more):
        if tuple(ids) == spoilt:
            raise LookupError("no such token")
        return real(ids, **more)

    monkeypatch.setattr(loaded.tokenizer, "decode", decode_)
    futures = [engine.submit(bad), engine.submit(good)]
    with pytest.raises(LookupError, match="no such token"):
        futures[0].result(timeout=60)
    assert futures[1].result(timeout=60).token_ids == answer
    assert all_rows_are_free(engine)


def test_rows_that_cannot_be_moved_for_want_of_memory_are_moved_at_the_next_try(loaded, engine, alone, monkeypatch):
    real, failures = engine.batch.cache.reorder, [1, 1]

    def failing(*arguments):
        if failures and arguments[0] != arguments[1]:
            failures.pop()
            raise torch.OutOfMemoryError("injected")
        return real(*arguments)

    request = question(loaded, 1, beam_width=4, max_new_tokens=20)
    expected = alone(loaded, request).token_ids
    monkeypatch.setattr(engine.batch.cache, "reorder", failing)
    with pytest.raises(Overloaded, match="out of memory"):
        engine.submit(request).result(timeout=60)  # twice in a row
    failures.append(1)
    answer = engine.submit(request).result(timeout=60)
    assert not failures
    assert (answer.token_ids, answer.level) == (expected, Level.FULL)


def test_numbers_that_are_none_fail_their_own_request_and_leave_nothing_behind(loaded, engine, alone, monkeypatch):
    family = engine.batch.prefiller.family
    real, poisoned = family.embed, question(loaded, 1, beam_width=4)
    good = [question(loaded, number, beam_width=width) for number, width in ((2, 1), (3, 2))]
    expected = [alone(loaded, request).token_ids for request in good]

    def embed(input_ids, features):
        spoilt = torch.equal(input_ids, poisoned.prompt.input_ids[0])
        return real(input_ids, features) * (torch.nan if spoilt else 1)

    monkeypatch.setattr(family, "embed", embed)
    for _ in range(3):  # in rows that the poisoned one has had before
        futures = [engine.submit(request) for request in (poisoned, *good)]
        with pytest.raises(ArithmeticError, match="NaN"):
            futures[0].result(timeout=60)
        assert [future.result(timeout=60).token_ids for future in futures[1:]] == expected
    assert all_rows_are_free(engine)
    assert not engine.batch.cache.kv[:, :, :, : SETTINGS.length].any()


def test_a_chunk_that_failed_half_done_leaves_nothing_behind(loaded, stepped, monkeypatch):
    family = stepped.family
    real = family.logits
    monkeypatch.setattr(family, "logits", lambda hidden: 1 / 0)
    future = stepped.submit(question(loaded, 1))
    stepped.run()
    assert isinstance(future.exception(timeout=0), ZeroDivisionError)
    assert not stepped.batch.cache.kv[:, :, :, : SETTINGS.length].any()
    monkeypatch.setattr(family, "logits", real)
    assert all_rows_are_free(stepped)


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


def test_a_vision_tower_that_hangs_is_noticed(loaded, engine, monkeypatch):
    family, begun, go_on = engine.batch.prefiller.family, threading.Event(), threading.Event()
    real = family.features

    def hanging(pictures):
        begun.set()
        go_on.wait(timeout=60)
        return real(pictures)

    monkeypatch.setattr(family, "features", hanging)
    future = engine.submit(question(loaded, 1))
    begun.wait(timeout=60)
    engine.check()
    engine.sight._began -= 2 * STUCK_AFTER_S
    with pytest.raises(RuntimeError, match="looked at the same pictures for 60 s"):
        engine.check()
    go_on.set()
    assert future.result(timeout=60).token_ids
    engine.check()


def test_a_closed_engine_finishes_what_runs_and_has_what_waits_asked_elsewhere(loaded):
    engine = RowEngine(loaded, SETTINGS.model_copy(update={"rows": 1}))
    told = threading.Event()
    request = replace(question(loaded, 1, max_new_tokens=60), on_tokens=lambda _: told.set())
    running = engine.submit(request)
    told.wait(timeout=60)
    waiting = engine.submit(question(loaded, 1))
    engine.close()
    assert running.result(timeout=60).token_ids
    with pytest.raises(Unavailable, match="ask again"):
        waiting.result(timeout=60)
    with pytest.raises(Unavailable):
        engine.submit(question(loaded, 1))


def test_more_than_may_wait_are_refused(loaded):
    engine = RowEngine(loaded, replace_settings(rows=1, waiting=2))
    running = engine.submit(question(loaded, 1, max_new_tokens=100))
    while engine.load() != (1, 0):
        time.sleep(0.001)
    waiting = [engine.submit(question(loaded, 1, max_new_tokens=1)) for _ in range(2)]
    with pytest.raises(Overloaded, match="2 requests wait"):
        engine.submit(question(loaded, 1))
    assert all(future.result(timeout=60).token_ids for future in (running, *waiting))
    engine.close()
