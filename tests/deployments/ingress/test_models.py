"""Several models behind one ingress, and a model that is replaced by one that wants to see pictures otherwise."""

import json

import pytest
from starlette.testclient import TestClient

from deployments.contract import ANY_SIZE, View
from deployments.errors import Unavailable
from deployments.ingress.answers.cache import MemoryCache
from deployments.ingress.http.app import create_app
from deployments.ingress.pipeline import Pipeline
from deployments.ingress.records import MemoryRecords

from .conftest import FakeDownloader, FakeModel, FakePreprocessor

SQUARE = View(side=1120, tokens=1602, tiles=False)
PICTURE = {"image": ("a.png", b"picture")}


@pytest.fixture
def two():
    """A client of two models, the preprocessor, and the models; they answer alike but for a word."""
    preprocessor = FakePreprocessor()
    models = FakeModel(says="one {}", serving="first"), FakeModel(says="two {}", serving="second", view=SQUARE)
    first = Pipeline(preprocessor, models[0], FakeDownloader(), MemoryRecords(100), "one", MemoryCache(100, 60.0))
    app = create_app(first, None, beside=(first.beside(models[1], "two"),))
    return TestClient(app, raise_server_exceptions=False, base_url="http://localhost"), preprocessor, models


def ask(client, **fields):
    return client.post("/v1/ask", files=PICTURE, data={"question": "?"} | fields)


def test_each_is_asked_by_its_name_and_the_first_by_default(two):
    client, _, models = two
    said = [ask(client, **fields).json() for fields in ({}, {"model": "two"}, {"model": "one"}, {"model": ""})]
    assert [(body["answer"], body["model"]) for body in said] == [
        ("one ?", "one"), ("two ?", "two"), ("one ?", "one"), ("one ?", "one"),
    ]  # fmt: skip
    assert [body["cached"] for body in said] == [False, False, True, True]
    assert [len(model.questions) for model in models] == [1, 1]


def test_each_sees_pictures_in_its_own_way(two):
    client, preprocessor, models = two
    ask(client)
    ask(client, model="two")
    assert preprocessor.views == [ANY_SIZE, SQUARE]
    assert [model.questions[0].view for model in models] == [ANY_SIZE, SQUARE]


def test_a_name_that_nobody_has_is_not_found_and_names_those_who_are(two):
    client, _, models = two
    refused = ask(client, model="three")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert "one and two are" in refused.json()["error"]["message"]
    assert not any(model.questions for model in models)


def test_their_answers_and_records_are_apart_and_all_are_listed(two):
    client, _, _ = two
    for name in ("one", "two"):
        body = ask(client, model=name).json()
        record = client.get(f"/v1/requests/{body['request_id']}").json()
        assert record["model"] == name
    assert [entry["id"] for entry in client.get("/v1/models").json()["data"]] == ["one", "two"]
    assert client.get("/v1/models/two").json()["id"] == "two"
    health = client.get("/healthz").json()
    assert (health["ready"], len(health["others"])) == (True, 1)


def test_the_service_is_ready_when_all_of_them_are(two):
    client, _, models = two
    models[1].info_faults = [Unavailable("loading")] * 9
    assert client.get("/health").status_code == client.get("/healthz").status_code == 503


def test_chat_completions_choose_by_name_too(two):
    client, _, _ = two
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
        {"type": "text", "text": "?"},
    ]
    for name in ("one", "two"):
        body = {"model": name, "messages": [{"role": "user", "content": content}]}
        reply = client.post("/v1/chat/completions", json=body).json()
        assert (reply["choices"][0]["message"]["content"], reply["model"]) == (f"{name} ?", name)
        chunks = client.post("/v1/chat/completions", json=body | {"stream": True}).text
        first = json.loads(chunks.split("data: ", 1)[1].split("\n")[0])
        assert first["model"] == name


def test_a_model_that_was_replaced_gets_the_picture_as_it_wants_it(service):
    """Within the seconds for which its word stands: it says so, and is asked what it wants before it is tried again."""
    assert service.client.post("/v1/ask", files=PICTURE, data={"question": "a"}).status_code == 200
    service.model.view = SQUARE
    service.model.faults = [Unavailable("the picture was prepared for another model than serves now: ask again")]
    assert service.client.post("/v1/ask", files=PICTURE, data={"question": "b"}).json()["answer"] == "echo b"
    assert service.preprocessor.views == [ANY_SIZE, ANY_SIZE, SQUARE]


def test_while_the_model_says_nothing_of_itself_its_last_word_stands(service):
    service.model.view = SQUARE
    service.client.post("/v1/ask", files=PICTURE, data={"question": "a"})
    service.pipeline.watch.doubt()
    service.model.info_faults = [Unavailable("away")] * 9
    assert service.client.post("/v1/ask", files=PICTURE, data={"question": "b"}).status_code == 200
    assert service.preprocessor.views == [SQUARE, SQUARE]
