"""A model that nobody holds any more: its threads end, and its memory is given back."""

import gc
import threading
import weakref
from concurrent.futures import CancelledError

import numpy as np
import pytest

from deployments.errors import Unavailable
from deployments.model import reference
from deployments.model.rows import engine as row_engine
from deployments.model.vision_model import VisionModel

PICTURE = np.full((112, 112, 3), 200, np.uint8)


@pytest.fixture(params=["rows", "reference"])
def kind(request):
    return request.param


def threads_of(model):
    """Its engine's own."""
    sight = getattr(model.engine, "sight", None)
    return [model.engine._thread, *([sight._thread] if sight else [])]


def end(threads):
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.mark.parametrize("was_asked", [True, False])
def test_a_dropped_model_is_collected_and_its_threads_end(checkpoint, kind, was_asked):
    model = VisionModel.from_pretrained(checkpoint, engine=kind)
    if was_asked:
        assert model.generate(PICTURE, "what?", max_new_tokens=2).token_ids
    threads, weights = threads_of(model), weakref.ref(model.loaded.model)
    del model
    gc.collect()
    end(threads)
    gc.collect()
    assert weights() is None


def test_what_a_dropped_model_was_asked_it_answers_first(checkpoint, kind):
    model = VisionModel.from_pretrained(checkpoint, engine=kind)
    futures = [model.submit((PICTURE,), f"{number}", max_new_tokens=4) for number in range(3)]
    threads = threads_of(model)
    del model
    gc.collect()
    assert all(future.result(timeout=60).token_ids for future in futures)
    end(threads)


def test_whoever_is_answered_may_close_the_engine(checkpoint, kind):
    model = VisionModel.from_pretrained(checkpoint, engine=kind)
    closed = threading.Event()

    def close(_):
        model.close()
        closed.set()

    model.submit((PICTURE,), "what?", max_new_tokens=2).add_done_callback(close)
    assert closed.wait(timeout=60)
    end([model.engine._thread])
    with pytest.raises(Unavailable):
        model.submit((PICTURE,), "what?")
    model.close()


@pytest.mark.parametrize("waits", [0, 2])
def test_what_a_closing_engine_interrupts_is_asked_elsewhere_and_not_cancelled(checkpoint, kind, waits, monkeypatch):
    model = VisionModel.from_pretrained(checkpoint, engine=kind)
    monkeypatch.setattr({"rows": row_engine, "reference": reference}[kind], "CLOSING_S", 0.0)
    begun, go_on, real = threading.Event(), threading.Event(), model.loaded.model.lm_head.forward

    def held(hidden):
        begun.set()
        assert go_on.wait(timeout=60)
        return real(hidden)

    monkeypatch.setattr(model.loaded.model.lm_head, "forward", held)
    futures = [model.submit((PICTURE,), "what?", max_new_tokens=4)]
    assert begun.wait(timeout=60)
    futures += [model.submit((PICTURE,), f"{number}") for number in range(waits)]
    model.close()
    for future in futures:
        fault = future.exception(timeout=60)
        assert isinstance(fault, Unavailable)
        assert not isinstance(fault, CancelledError)
        assert not future.cancelled()
    go_on.set()
    end([model.engine._thread])
