"""The reference engine is ``model.generate``, and behaves under cancellation, deadlines and faults."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
import torch

from deployments.errors import DeadlineExceeded, Unavailable
from deployments.model import reference
from deployments.model.engine import Decoding, EngineRequest
from deployments.model.pixels import patchify
from deployments.model.prompt import PromptWriter
from deployments.model.reference import ReferenceEngine


def picture(seed, height=112, width=140):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


PICTURES = (picture(0),)


@pytest.fixture
def request_of(vision_model):
    loaded = vision_model.loaded
    writer = PromptWriter(loaded.tokenizer, loaded.model.config.image_token_id)

    def make(text="what?", pictures=PICTURES, deadline=float("inf"), **decoding):
        prompt = writer.write(text, [p.shape[0] * p.shape[1] // 784 for p in pictures])
        return EngineRequest(prompt, tuple(pictures), Decoding(**{"max_new_tokens": 12} | decoding), deadline)

    return make


@pytest.fixture
def engine(vision_model):
    engine = ReferenceEngine(vision_model.loaded, clock=lambda: 100.0)
    yield engine
    engine.close()


def generated(loaded, request):
    """Token for token what transformers gives, ends and padding included."""
    values, grid = patchify(request.pictures, loaded.layout)
    prompt = request.prompt
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=prompt.input_ids, attention_mask=torch.ones_like(prompt.input_ids), pixel_values=values,
            image_grid_thw=grid, mm_token_type_ids=prompt.mm_token_type_ids, num_beams=request.decoding.beam_width,
            max_new_tokens=request.decoding.max_new_tokens, do_sample=False,
        )  # fmt: skip
    return out[0, prompt.tokens :].tolist()


@pytest.mark.parametrize("beam_width", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_tokens_are_those_of_generate(engine, request_of, vision_model, beam_width, seed):
    request = request_of(f"question {seed}", (picture(seed),), beam_width=beam_width, max_new_tokens=24)
    expected = generated(vision_model.loaded, request)
    generation = engine.submit(request).result()
    ends = [i for i, token in enumerate(expected) if token in vision_model.loaded.eos_token_ids]
    cut = expected[: ends[0]] if ends else expected
    assert list(generation.token_ids) == cut
    assert generation.finish_reason == ("stop" if ends else "length")
    assert generation.usage.completion_tokens == len(cut)
    assert generation.usage.image_tokens == 20


@pytest.mark.parametrize("end", [1, 2])
def test_every_end_token_ends_an_answer(request_of, vision_model, end):
    """Whichever of the several end ids comes, nothing after it is read."""
    loaded = vision_model.loaded
    plain = ReferenceEngine(loaded)
    tokens = plain.submit(request_of(max_new_tokens=8)).result().token_ids
    plain.close()
    stop = tokens[5]
    ends = list(loaded.eos_token_ids)
    ends[end] = stop
    engine = ReferenceEngine(
        type(loaded)(**{f: getattr(loaded, f) for f in loaded.__slots__} | {"eos_token_ids": tuple(ends)})
    )
    generation = engine.submit(request_of(max_new_tokens=8)).result()
    engine.close()
    assert generation.finish_reason == "stop"
    assert generation.token_ids == tokens[: tokens.index(stop)]


def test_a_text_only_request_is_answered(engine, request_of):
    assert engine.submit(request_of("hello", ())).result().usage.image_tokens == 0


def test_a_request_past_its_deadline_is_not_begun(engine, request_of):
    with pytest.raises(DeadlineExceeded):
        engine.submit(request_of(deadline=99.0)).result()


def test_a_deadline_that_passes_meanwhile_stops_generation(vision_model, request_of):
    now = iter([0.0] + [0.0] * 3 + [10.0] * 1000)
    engine = ReferenceEngine(vision_model.loaded, clock=lambda: next(now))
    with pytest.raises(DeadlineExceeded):
        engine.submit(request_of(deadline=5.0, max_new_tokens=500)).result()
    engine.close()


def test_a_waiting_request_can_be_cancelled_and_the_next_is_answered(engine, request_of):
    first = engine.submit(request_of(max_new_tokens=64))
    second, third = engine.submit(request_of()), engine.submit(request_of())
    assert second.cancel()
    assert third.result().token_ids
    assert first.result().token_ids
    with pytest.raises(CancelledError):
        second.result()


def test_a_running_request_stops_at_the_next_step_when_cancelled(vision_model, request_of):
    running = threading.Event()

    def clock():
        running.set()
        return 0.0

    engine = ReferenceEngine(vision_model.loaded, clock)
    future = engine.submit(request_of(max_new_tokens=4000))
    running.wait(30)
    future.cancel()
    assert isinstance(future.exception(timeout=30), CancelledError)
    assert engine.submit(request_of()).result(timeout=30).token_ids
    engine.close()


def test_a_fault_in_one_request_harms_no_other(engine, request_of):
    bad = request_of(pictures=(picture(0),))
    bad = EngineRequest(bad.prompt, (picture(0, 100, 100),), bad.decoding)
    with pytest.raises(ValueError, match="multiples of 28"):
        engine.submit(bad).result()
    assert engine.submit(request_of()).result().token_ids
    engine.check()


def test_a_closed_engine_takes_nothing_and_says_so(vision_model, request_of):
    engine = ReferenceEngine(vision_model.loaded)
    engine.close()
    with pytest.raises(Unavailable):
        engine.submit(request_of())
    with pytest.raises(RuntimeError, match="died"):
        engine.check()


def held_up(loaded):
    """An engine, and two events: set when it begins a request; to be set for it to go on."""
    running, go_on = threading.Event(), threading.Event()

    def clock():
        running.set()
        go_on.wait(30)
        return 0.0

    return ReferenceEngine(loaded, clock), running, go_on


def test_who_waits_when_the_engine_closes_is_told_at_once_and_who_runs_is_answered(vision_model, request_of):
    """Not cancelled, which nobody of them has asked for, and not only once the long answer before them has ended."""
    engine, running, go_on = held_up(vision_model.loaded)
    first = engine.submit(request_of())
    running.wait(30)
    others = [engine.submit(request_of()) for _ in range(3)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert [type(other.exception(timeout=30)) for other in others] == [Unavailable] * 3
    assert not first.done()
    go_on.set()
    assert first.result(timeout=30).token_ids
    closing.join(30)
    assert engine.load() == (0, 0)


def test_an_answer_that_closing_cannot_wait_for_is_unavailable_here(vision_model, request_of, monkeypatch):
    monkeypatch.setattr(reference, "CLOSING_S", 0.0)
    engine, running, go_on = held_up(vision_model.loaded)
    future = engine.submit(request_of())
    running.wait(30)
    engine.close()
    with pytest.raises(Unavailable):
        future.result(timeout=30)
    go_on.set()
    engine._thread.join(30)
    assert not engine._thread.is_alive()
