"""Two families in one application on a real Ray Serve instance: two models behind one ingress, half a GPU each."""

import base64
import json
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from deployments.model.settings import ModelKnobs
from deployments.model.vision_model import VisionModel
from deployments.preprocess.settings import PreprocessKnobs

pytestmark = pytest.mark.serve

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "demo" / "samples"
QUESTION = json.loads((SAMPLES / "samples.json").read_text())[0]["questions"][0]
NAMES = ("tuwen-demo", "glm-4v-9b", "glm-4v-9b-nf4")
LONGEST = 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny GLM-4V-9B as published, and what the command makes of it in NF4."""
    sys.path.insert(0, str(ROOT / "tests" / "deployments" / "model" / "glm4v9b"))
    import tiny

    from serve_app.cli import main

    published, stored = (tmp_path_factory.mktemp("family") / name for name in ("published", "nf4"))
    tiny.write(published)
    assert main(["quantize", str(published), str(stored)]) == 0
    return published, stored


@pytest.fixture(scope="module")
def two(live, folders):
    """The address of an application that serves the demo model and both of these."""
    published, stored = map(str, folders)
    application = live.application
    application.update(name="two", route_prefix="/two")
    application["args"]["model"].update(device="auto", dtype="float32")
    application["args"]["more_models"] = [
        {"checkpoint": published, "name": NAMES[1], "dtype": "float32", "gpu_fraction": 0.5, "threads": 1},
        {"checkpoint": stored, "name": NAMES[2], "quantization": "nf4", "device": "cpu", "threads": 1},
    ]
    deployments = application["deployments"]
    model = next(entry for entry in deployments if entry["name"] == "Model")
    model["user_config"].update(max_new_tokens=LONGEST, default_max_new_tokens=LONGEST)
    deployments += [model | {"name": f"Model-{name}"} for name in NAMES[1:]]
    live.deploy(live.application, application)
    from serve_app.wait import wait

    wait(f"{live.url}/two", "http://127.0.0.1:1", 240)
    yield f"{live.url}/two"
    live.restore()


def asked(url, file="order-1.png", **fields):
    files = {"image": (SAMPLES / file).read_bytes()}
    return requests.post(f"{url}/v1/ask", files=files, data={"question": QUESTION} | fields, timeout=120)


def chat(name, file="order-1.png", **more):
    uri = "data:image/png;base64," + base64.b64encode((SAMPLES / file).read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": QUESTION}]
    return {"model": name, "messages": [{"role": "user", "content": content}]} | more


@pytest.fixture(scope="module")
def alone(two, folders, live):
    """What each model of exact weights answers in this process, as its knobs say."""
    entries = {entry["name"]: entry for entry in live.application["deployments"]}
    seen = PreprocessKnobs.model_validate(entries["Preprocessor"]["user_config"])
    knobs = ModelKnobs.model_validate(
        entries["Model"]["user_config"] | {"max_new_tokens": LONGEST, "default_max_new_tokens": LONGEST}
    )
    said = {}
    for name, checkpoint in zip(NAMES[:2], (ROOT / "demo" / "checkpoint", folders[0]), strict=True):
        model = VisionModel.from_pretrained(checkpoint, knobs, dtype="float32")
        said[name] = model.generate(SAMPLES / "order-1.png", QUESTION, preprocess=seen).text
        model.close()
    assert len(set(said.values())) == 2
    return said


def test_each_is_listed_by_its_name(two):
    models = requests.get(f"{two}/v1/models", timeout=10).json()["data"]
    assert [model["id"] for model in models] == list(NAMES)
    assert requests.get(f"{two}/v1/models/{NAMES[1]}", timeout=10).json()["id"] == NAMES[1]
    health = requests.get(f"{two}/healthz", timeout=10).json()
    assert [health["model"], *(other["model"] for other in health["others"])] == list(NAMES)
    assert [other["quantization"] for other in health["others"]] == ["none", "nf4"]


def test_the_two_have_one_gpu_between_them(two):
    """The cluster has one, which is a number to Ray: half of it goes to each, and none is left."""
    import ray
    from ray import serve

    assert ray.cluster_resources()["GPU"] == 1
    states = {name: found.replica_states for name, found in serve.status().applications["two"].deployments.items()}
    assert {f"Model-{name}" for name in NAMES[1:]} | {"Model"} <= set(states)
    assert all(found == {"RUNNING": 1} for found in states.values())
    give_up = time.monotonic() + 30
    while ray.available_resources().get("GPU", 0):  # told now and then
        assert time.monotonic() < give_up
        time.sleep(0.2)


@pytest.mark.parametrize("name", NAMES[:2])
def test_the_answer_is_the_chosen_model_s(two, alone, name):
    body = asked(two, model=name).json()
    assert (body["answer"], body["model"]) == (alone[name], name)
    reply = requests.post(f"{two}/v1/chat/completions", json=chat(name), timeout=120).json()
    assert (reply["choices"][0]["message"]["content"], reply["model"]) == (alone[name], name)


def test_who_names_no_model_gets_the_first_and_an_unknown_name_is_refused(two, alone):
    assert asked(two).json()["answer"] == alone[NAMES[0]]
    refused = asked(two, model="gpt")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert "tuwen-demo and glm-4v-9b and glm-4v-9b-nf4 are" in refused.json()["error"]["message"]
    assert requests.post(f"{two}/v1/chat/completions", json=chat("gpt"), timeout=60).status_code == 404


def test_the_cache_never_mixes_them(two, alone):
    for name in (*NAMES[:2], *NAMES[:2]):
        body = asked(two, "order-1.png", model=name).json()
        assert body["answer"] == alone[name]
    assert body["cached"] is True
    first = asked(two, "waybill-1.png", model=NAMES[2]).json()
    again = asked(two, "waybill-1.png", model=NAMES[2]).json()
    assert (first["cached"], again["cached"], again["answer"]) == (False, True, first["answer"])
    assert asked(two, "waybill-1.png", model=NAMES[1]).json()["cached"] is False


def test_the_stored_one_answers_over_every_way_in(two):
    whole = asked(two, "board-1.png", model=NAMES[2]).json()
    assert whole["answer"]
    assert whole["usage"]["image_tokens"] == 18
    reply = requests.post(f"{two}/v1/chat/completions", json=chat(NAMES[2], "board-1.png"), timeout=120).json()
    assert reply["choices"][0]["message"]["content"] == whole["answer"]


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_is_the_chosen_model_s_too(two, name):
    response = asked(two, "document-1.png", model=name, stream="true")
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    *deltas, whole, done = [line if line == "[DONE]" else json.loads(line) for line in lines]
    assert (done, whole["model"]) == ("[DONE]", name)
    assert "".join(event["delta"] for event in deltas) == whole["answer"] != ""
    chunks = requests.post(
        f"{two}/v1/chat/completions", json=chat(name, "document-1.png", stream=True), timeout=120
    ).text
    texts = [json.loads(line[6:]) for line in chunks.splitlines() if line.startswith("data: {")]
    said = "".join(choice["delta"].get("content", "") for chunk in texts for choice in chunk["choices"])
    assert said == whole["answer"]
    assert {chunk["model"] for chunk in texts} == {name}


def test_a_large_picture_is_shown_whole_to_the_one_and_in_parts_to_the_other(two):
    pixels = np.random.default_rng(3).integers(0, 256, (900, 1500, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    tiles = {}
    for name in NAMES[:2]:
        fields = {"question": QUESTION, "model": name, "max_new_tokens": 2}
        body = requests.post(f"{two}/v1/ask", files={"image": file.getvalue()}, data=fields, timeout=120).json()
        tiles[name] = body.get("tiles"), body["usage"]["image_tokens"]
    assert tiles[NAMES[1]] == (1, 18)
    assert tiles[NAMES[0]][0] > 2
