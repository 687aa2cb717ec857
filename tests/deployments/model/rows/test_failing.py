"""The row engine when requests are cancelled, late or fail, when memory is short, and when it ends or hangs."""

import threading
import time
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
import torch

from deployments.contract import Level
from deployments.errors import DeadlineExceeded, Overloaded, QuestionTooLong, Unavailable
from deployments.model.health import MOST_FAILURES
from deployments.model.rows import decode
from deployments.model.rows.engine import STUCK_AFTER_S, RowEngine
from deployments.model.rows.prefill import Prefiller

from .asking import picture, request_to
from .stepping import SETTINGS, Stepped, all_rows_are_free, question, replace_settings


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
