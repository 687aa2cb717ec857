"""What the graph's builder decides: tickets and paths."""

import pytest

from deployments.model.settings import ModelSettings
from serve_app.graph import absolute, model_ticket
from serve_app.settings import ROOT

TICKETS = [
    ("auto", 0, {"num_cpus": 0.2}),
    ("auto", 1, {"num_cpus": 0.2, "num_gpus": 0.28}),
    ("cpu", 1, {"num_cpus": 0.2}),
    ("cuda", 0, {"num_cpus": 0.2, "num_gpus": 0.28}),
]


@pytest.mark.parametrize(("device", "gpus", "ticket"), TICKETS)
def test_a_model_takes_its_fraction_where_there_is_a_gpu(device, gpus, ticket):
    assert model_ticket(ModelSettings(device=device, gpu_fraction=0.28), gpus) == ticket


def test_paths_are_made_absolute_and_hub_names_left_alone():
    assert absolute("./demo/checkpoint") == str(ROOT / "demo" / "checkpoint")
    assert absolute("/models/glm") == "/models/glm"
    assert absolute("zai-org/GLM-4.6V-Flash") == "zai-org/GLM-4.6V-Flash"
    assert not absolute("~/models").startswith("~")
