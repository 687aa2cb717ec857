"""The OpenAI surface: what its clients send and expect; what we cannot do is refused, not dropped."""

import base64

import pytest

from deployments.errors import Overloaded

URI = "data:image/png;base64," + base64.b64encode(b"picture bytes").decode()


def request(*, url=URI, text="多少钱？", **changed):
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return {"model": "tuwen-test", "messages": [{"role": "user", "content": parts}], **changed}


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
SYSTEM = [{"role": "system", "content": "be brief"}, *request()["messages"]]
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
    ("a conversation", request(messages=SYSTEM), 400, "invalid_request"),
    ("no messages", request(messages=[]), 400, "invalid_request"),
    ("unknown part", request(messages=[{"role": "user", "content": [{"type": "video"}]}]), 400, "invalid_request"),
    ("another model", request(model="gpt"), 404, "not_found"),
    ("several choices", request(n=2), 400, "unsupported_parameter"),
    ("tools", request(tools=[{"type": "function"}]), 400, "unsupported_parameter"),
    ("log probabilities", request(logprobs=True), 400, "unsupported_parameter"),
    ("not an object", [], 400, "invalid_request"),
]


@pytest.mark.parametrize(("body", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_done_is_refused_with_its_code(service, body, status, code):
    response = service.client.post("/v1/chat/completions", json=body)
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
