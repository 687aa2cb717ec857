"""Tiny models of both families, and what ``generate`` says to a request alone."""

import pytest

from deployments.model.reference import ReferenceEngine
from deployments.model.rows.engine import RowEngine
from deployments.model.vision_model import VisionModel

from .stepping import SETTINGS, Stepped

SHAPES = [
    {},
    {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 384,
        "vocab_size": 384,
    },
]


@pytest.fixture(scope="session", params=["glm46v", "glm46v of another shape", "glm4v9b"])
def loaded(request, checkpoint_of, published_of):
    if request.param == "glm4v9b":
        checkpoint = published_of(0)
    else:
        seed = ["glm46v", "glm46v of another shape"].index(request.param)
        checkpoint = checkpoint_of(seed, **SHAPES[seed])
    model = VisionModel.from_pretrained(checkpoint)
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


@pytest.fixture
def stepped(loaded):
    return Stepped(loaded, SETTINGS)


@pytest.fixture
def engine(loaded):
    engine = RowEngine(loaded, SETTINGS)
    yield engine
    engine.close()
