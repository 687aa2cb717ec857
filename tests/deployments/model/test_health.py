"""Both engines when device or memory fail: nobody is blamed for it, and the replica says that it has to be replaced."""

import asyncio
import threading

import numpy as np
import pytest
import torch

from deployments.contract import OVERVIEW, Question
from deployments.errors import Overloaded, Unavailable
from deployments.model.deployment import Model
from deployments.model.engine import Decoding, EngineRequest
from deployments.model.gate import Gate
from deployments.model.health import MOST_FAILURES, MOST_MEMORY_REFUSALS, Health
from deployments.model.prompt import PromptWriter
from deployments.model.settings import ModelKnobs
from deployments.model.vision_model import VisionModel

PICTURE = np.full((112, 112, 3), 200, np.uint8)
ASSERTED = torch.AcceleratorError("CUDA error: device-side assert triggered")
SHORT = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
]


@pytest.fixture(params=["rows", "reference"])
def model(request, checkpoint):
    """One that can be made to fail: what ``model.faults`` holds is raised by the next forwards, one each."""
    model = VisionModel.from_pretrained(checkpoint, ModelKnobs(level="fast"), engine=request.param)
    yield model
    model.close()


def text_of(model):
    """Object and name of the function that computes the engine's language model."""
    if model.settings.engine == "rows":
        return model.engine.batch.prefiller.family, "hidden"
    return model.loaded.model.model.language_model, "forward"


def held_up(monkeypatch, part, name):
    """Two events: set when the function is first called; to be set for it to go on."""
    begun, go_on = threading.Event(), threading.Event()
    real = getattr(part, name)

    def held(*arguments, **more):
        begun.set()
        assert go_on.wait(timeout=60)
        return real(*arguments, **more)

    monkeypatch.setattr(part, name, held)
    return begun, go_on


@pytest.fixture
def failing(model, monkeypatch):
    """A function that has the language model raise whatever it is given, in every forward, until it is given None."""
    part, name = text_of(model)
    real, fault = getattr(part, name), [None]

    def forward(*arguments, **more):
        if fault[0] is not None:
            raise fault[0]
        return real(*arguments, **more)

    monkeypatch.setattr(part, name, forward)

    def fail_with(what):
        fault[0] = what

    return fail_with


@pytest.fixture
def request_of(model):
    writer = PromptWriter(model.loaded.tokenizer, model.loaded.model.config.image_token_id)
    return lambda text="?": EngineRequest(writer.write(text, [16]), (PICTURE,), Decoding(max_new_tokens=4))


@pytest.mark.parametrize(
    "text", ["device-side assert triggered", "unspecified launch failure", "uncorrectable ECC error encountered"]
)
def test_a_device_that_fails_has_every_request_asked_elsewhere_and_fails_the_health_check(
    model, failing, request_of, text
):
    model.engine.check()
    failing(torch.AcceleratorError(f"CUDA error: {text}"))
    futures = []
    for number in range(3):
        try:
            futures.append(model.engine.submit(request_of(str(number))))
        except Unavailable:  # the first has ended it by now
            assert futures
    for future in futures:
        assert isinstance(future.exception(timeout=60), Unavailable)
    failing(None)  # it would answer again, and must not be trusted: what is in its memory may be spoilt
    with pytest.raises(Unavailable, match="ask again"):
        model.engine.submit(request_of())
    with pytest.raises(RuntimeError, match=text):
        model.engine.check()


def test_requests_that_wait_while_the_device_fails_are_asked_elsewhere(model, failing, request_of, monkeypatch):
    failing(ASSERTED)
    begun, go_on = held_up(monkeypatch, *text_of(model))
    first = model.engine.submit(request_of("1"))
    assert begun.wait(timeout=60)
    waiting = [model.engine.submit(request_of(str(number))) for number in range(2, 6)]
    go_on.set()
    for future in (first, *waiting):
        assert isinstance(future.exception(timeout=60), Unavailable)


def test_a_request_s_own_fault_stays_its_own_and_harms_no_other(model, failing, request_of):
    failing(RuntimeError("The size of tensor a must match the size of tensor b"))
    with pytest.raises(RuntimeError, match="must match"):
        model.engine.submit(request_of()).result(timeout=60)
    failing(None)
    assert model.engine.submit(request_of()).result(timeout=60)
    model.engine.check()


def test_requests_that_fail_one_after_the_other_fail_the_health_check(model, failing, request_of):
    failing(RuntimeError("The size of tensor a must match the size of tensor b"))
    for _ in range(MOST_FAILURES):
        model.engine.check()
        assert isinstance(model.engine.submit(request_of()).exception(timeout=60), RuntimeError)
    with pytest.raises(RuntimeError, match="5 requests have failed"):
        model.engine.check()


@pytest.mark.parametrize("fault", SHORT, ids=["GPU", "CPU"])
def test_out_of_memory_for_good_fails_the_health_check_and_an_answer_between_does_not(
    model, failing, request_of, fault
):
    for _ in range(2):
        failing(fault)
        for _ in range(MOST_MEMORY_REFUSALS - 1):
            with pytest.raises(Overloaded, match="out of memory"):
                model.engine.submit(request_of()).result(timeout=60)
        failing(None)
        assert model.engine.submit(request_of()).result(timeout=60)
        model.engine.check()
    failing(fault)
    for _ in range(MOST_MEMORY_REFUSALS):
        model.engine.check()
        assert isinstance(model.engine.submit(request_of()).exception(timeout=60), Overloaded)
    with pytest.raises(RuntimeError, match="5 requests have been out of memory"):
        model.engine.check()


def test_a_device_that_fails_while_nobody_asks_fails_the_health_check(monkeypatch):
    def dead(_):
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")

    health = Health(torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1, 2))
    health.check()
    monkeypatch.setattr(torch.cuda, "mem_get_info", dead)
    with pytest.raises(RuntimeError, match="the device has failed: CUDA error: uncorrectable ECC"):
        health.check()


def test_a_closing_engine_has_what_waits_asked_elsewhere(model, request_of, monkeypatch):
    begun, go_on = held_up(monkeypatch, *text_of(model))
    running = [model.engine.submit(request_of(str(number))) for number in range(16)]
    assert begun.wait(timeout=60)
    waiting = [model.engine.submit(request_of(str(number))) for number in range(16, 20)]
    closing = threading.Thread(target=model.close)
    closing.start()
    while not model.engine._closed:
        closing.join(0.001)
    go_on.set()
    assert running[0].result(timeout=60)
    assert all(isinstance(future.exception(timeout=60), Unavailable) for future in waiting)
    closing.join(timeout=60)


def test_the_deployment_hands_a_failed_device_to_the_ingress_as_unavailable(model, failing):
    """As a value: raised, it would reach the caller as an internal error and be asked nowhere else."""

    async def both():
        asked = Question("r", "?", 4, float("inf"))
        streamed = [item async for item in replica.stream((PICTURE,), (OVERVIEW,), asked)]
        return [await replica.answer((PICTURE,), (OVERVIEW,), asked), *streamed]

    replica = object.__new__(Model)
    replica._model, replica._gate = model, Gate(model.engine, 16)
    failing(ASSERTED)
    told = asyncio.run(both())
    assert [type(item) for item in told] == [Unavailable, Unavailable]
    with pytest.raises(RuntimeError, match="device-side assert"):
        replica.check_health()
