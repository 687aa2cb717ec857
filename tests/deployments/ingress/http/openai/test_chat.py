"""The chat completion: what OpenAI's clients send and get, and how a request as a whole is refused."""

import json

import pytest

from deployments.errors import Overloaded
from tests.deployments.ingress.http.openai.conftest import URI, asking, posted


def request(*, url=URI, text="多少钱？", **changed):
    return {"model": "tuwen-test", "messages": [asking(text, url)], **changed}


def test_a_completion_answers(service):
    body = service.client.post("/v1/chat/completions", json=request(max_tokens=9, temperature=0)).json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "echo 多少钱？", "refusal": None}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}
    assert service.model.questions[0].max_new_tokens == 9


def test_the_served_model_is_listed(service):
    assert [m["id"] for m in service.client.get("/v1/models").json()["data"]] == ["tuwen-test"]


TWO = [{"type": "image_url", "image_url": {"url": uri}} for uri in (URI, URI + "=")]
REFUSED = [
    ("bad alphabet", request(url="data:image/png;base64,@@@@"), 400, "image_encoding"),
    ("bad padding", request(url="data:image/png;base64,abc"), 400, "image_encoding"),
    ("white space", request(url="data:image/png;base64,YW Jj"), 400, "image_encoding"),
    ("not a picture's type", request(url="data:text/plain;base64,YWJj"), 400, "image_encoding"),
    ("not base64", request(url="data:image/png,abc"), 400, "image_encoding"),
    ("empty picture", request(url="data:image/png;base64,"), 400, "image_missing"),
    ("no picture", request(messages=[{"role": "user", "content": "hello"}]), 400, "image_missing"),
    ("two pictures", request(messages=[{"role": "user", "content": TWO}]), 400, "too_many_images"),
    ("no text", request(messages=[{"role": "user", "content": TWO[:1]}]), 400, "question_empty"),
    ("no model", {"messages": request()["messages"]}, 400, "invalid_request"),
    ("no messages", request(messages=[]), 400, "invalid_request"),
    ("unknown part", request(messages=[{"role": "user", "content": [{"type": "video"}]}]), 400, "invalid_request"),
    ("another model", request(model="gpt"), 404, "not_found"),
    ("an address with half a pair", request(url="https://a/\ud800"), 400, "invalid_request"),
    ("a question with half a pair", request(text="x\udfff"), 400, "invalid_request"),
    ("a model with half a pair", request(model="\ud800"), 400, "invalid_request"),
    ("a control character", request(text="a\x1b[31m"), 400, "invalid_request"),
    ("an invisible question", request(text="\u200b\ufe0f\u202e\u3164"), 400, "question_empty"),
    ("not an object", [], 400, "invalid_request"),
]


@pytest.mark.parametrize(("body", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_done_is_refused_with_its_code(service, body, status, code):
    response = posted(service.client, body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert service.model.questions == []


def test_a_broken_body_is_an_invalid_request(service):
    headers = {"Content-Type": "application/json"}
    response = service.client.post("/v1/chat/completions", content=b"{", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


def test_overload_is_429_with_retry_after(service):
    service.model.faults = [Overloaded("full")]
    response = service.client.post("/v1/chat/completions", json=request())
    assert (response.status_code, response.json()["error"]["code"]) == (429, "overloaded")
    assert response.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Content-Type": "text/plain"}, "`text/plain`"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "application/json"),
        ({"Content-Type": ""}, "no content type"),
        ({"Content-Type": "application/json; charset=gbk"}, "UTF-8"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "packed"),
    ],
)
def test_a_body_that_is_not_announced_as_plain_json_is_refused(service, headers, says):
    response = service.client.post("/v1/chat/completions", content=b"{}", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert says in response.json()["error"]["message"]


def test_json_with_a_charset_and_a_mark_before_it_is_read(service):
    headers = {"Content-Type": "Application/JSON; charset=UTF-8", "Content-Encoding": "identity"}
    body = b"\xef\xbb\xbf" + json.dumps(request()).encode()
    assert service.client.post("/v1/chat/completions", content=body, headers=headers).status_code == 200


def test_one_model_is_found_by_its_name_slashes_included(service):
    service.pipeline.model_name = "zai-org/GLM-4.6V-Flash"
    response = service.client.get("/v1/models/zai-org/GLM-4.6V-Flash")
    assert response.json() == {"id": "zai-org/GLM-4.6V-Flash", "object": "model", "created": 0, "owned_by": "tuwen"}
    missing = service.client.get("/v1/models/zai-org/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert "`zai-org/other`" in missing.json()["error"]["message"]
