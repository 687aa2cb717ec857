"""Tiny checkpoints in the published layout, loaded by the settings alone."""

import json

import pytest
from safetensors.torch import load_file

from deployments.model.reference import ReferenceEngine
from deployments.model.vision_model import VisionModel

from . import tiny

SHAPES = [
    {},
    {"text": {"num_layers": 2, "multi_query_group_num": 1, "rope_ratio": 500}, "eyes": {"num_hidden_layers": 3}},
]


@pytest.fixture(scope="session", params=range(len(SHAPES)), ids=["shape 0", "shape 1"])
def folder(request, tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("glm4v9b"), seed=request.param, **SHAPES[request.param])


@pytest.fixture(scope="session")
def config(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.fixture(scope="session")
def weights(folder):
    """As they lie in the files."""
    return {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}


@pytest.fixture(scope="session")
def model(folder):
    found = VisionModel.from_pretrained(folder, dtype="float32")
    yield found
    found.close()


@pytest.fixture(scope="session")
def loaded(model):
    return model.loaded


@pytest.fixture(scope="session")
def alone(loaded):
    """What ``model.generate`` answers to a request by itself."""
    engine = ReferenceEngine(loaded)
    yield lambda request: engine.submit(request).result(timeout=120)
    engine.close()
