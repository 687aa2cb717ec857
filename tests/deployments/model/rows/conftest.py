"""Requests about random pictures, and what ``generate`` says to each of them alone."""

from dataclasses import replace

import numpy as np
import pytest

from deployments.model.engine import Decoding, EngineRequest
from deployments.model.prompt import PromptWriter
from deployments.model.reference import ReferenceEngine
from deployments.model.vision_model import VisionModel
from tests.deployments.model.conftest import build_checkpoint


def picture(seed, height=112, width=140):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def request_to(loaded, text="what?", pictures=(), deadline=float("inf"), **decoding):
    writer = PromptWriter(loaded.tokenizer, loaded.model.config.image_token_id)
    prompt = writer.write(text, [p.shape[0] * p.shape[1] // 784 for p in pictures])
    return EngineRequest(prompt, tuple(pictures), Decoding(**{"max_new_tokens": 12} | decoding), deadline)


def ending_in(loaded, tokens):
    """The same model, whose answers end at any of these tokens."""
    return replace(loaded, eos_token_ids=tuple(tokens))


@pytest.fixture(scope="session", params=[0, 1], ids=["model 0", "model 1"])
def loaded(request, tmp_path_factory):
    model = VisionModel.from_pretrained(build_checkpoint(tmp_path_factory.mktemp("rows"), seed=request.param))
    model.close()
    return model.loaded


@pytest.fixture
def alone():
    """What ``model.generate`` answers to a request by itself."""
    engines = []

    def ask(loaded, request):
        if not engines or engines[0]._loaded is not loaded:
            engines[:] = [ReferenceEngine(loaded)]
        return engines[0].submit(request).result(timeout=120)

    yield ask
    for engine in engines:
        engine.close()
