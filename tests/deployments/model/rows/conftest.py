"""Two tiny models, and what ``generate`` says to a request alone."""

import pytest

from deployments.model.reference import ReferenceEngine
from deployments.model.vision_model import VisionModel

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


@pytest.fixture(scope="session", params=range(len(SHAPES)), ids=["model 0", "model 1"])
def loaded(request, checkpoint_of):
    model = VisionModel.from_pretrained(checkpoint_of(request.param, **SHAPES[request.param]))
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
