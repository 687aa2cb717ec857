"""Answers as server-sent events, on ``/v1/ask`` and on the OpenAI surface."""

import asyncio
import base64
import json
import time

import pytest

from deployments.errors import DeadlineExceeded, EmptyAnswer, Overloaded, Unavailable
from deployments.ingress.asking import Ask
from deployments.ingress.uploads import Upload

PICTURE = {"image": ("a.png", b"picture bytes")}


def ask(service, **data):
    data = {"question": "多少钱？", "stream": "true", **data}
    return service.client.post("/v1/ask", files=PICTURE, data=data)


def chat(service, **changed):
    uri = "data:image/png;base64," + base64.b64encode(b"picture bytes").decode()
    parts = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "多少钱？"}]
    body = {"model": "tuwen-test", "messages": [{"role": "user", "content": parts}], "stream": True, **changed}
    return service.client.post("/v1/chat/completions", json=body)


def events(response):
    """(event name, data) of each; data parsed but for ``[DONE]``."""
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    parsed = []
    for lines in blocks:
        name = next((line[7:] for line in lines if line.startswith("event: ")), "message")
        data = next(line[6:] for line in lines if line.startswith("data: "))
        parsed.append((name, data if data == "[DONE]" else json.loads(data)))
    return parsed


def test_the_answer_comes_in_pieces_and_then_whole(service):
    *pieces, (_, reply), (_, end) = events(ask(service))
    assert "".join(data["delta"] for _, data in pieces) == reply["answer"] == "echo 多少钱？"
    assert len(pieces) == len("echo 多少钱？")
    assert (reply["level"], reply["usage"]["completion_tokens"], end) == ("full", 4, "[DONE]")
    record = service.client.get(f"/v1/requests/{reply['request_id']}").json()
    assert (record["status"], record["level"]) == (200, "full")


def test_openai_chunks_have_a_role_first_and_a_reason_last(service):
    *chunks, (_, end) = events(chat(service))
    choices = [chunk["choices"][0] for _, chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "echo 多少钱？"
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert len({chunk["id"] for _, chunk in chunks}) == 1
    assert {chunk["object"] for _, chunk in chunks} == {"chat.completion.chunk"}
    assert end == "[DONE]"


def test_openai_usage_comes_last_when_it_is_asked_for(service):
    *chunks, (_, usage), _ = events(chat(service, stream_options={"include_usage": True}))
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}
    assert all(chunk["usage"] is None for _, chunk in chunks)
    assert all("usage" not in chunk for _, chunk in events(chat(service))[:-1])


@pytest.mark.parametrize("post", [ask, chat])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(EmptyAnswer("nothing"), 502, "empty_answer"), (DeadlineExceeded("late"), 504, "deadline_exceeded")],
)
def test_what_fails_before_the_first_piece_has_its_own_status(service, post, fault, status, code):
    service.model.faults = [fault]
    response = post(service)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("post", [ask, chat])
def test_what_fails_later_is_an_error_event_and_the_end(service, post):
    service.model.faults, service.model.breaks_after = [DeadlineExceeded("late")], 3
    response = post(service)
    (name, data) = events(response)[-1]
    assert (response.status_code, name, data["error"]["code"]) == (200, "error", "deadline_exceeded")
    assert "[DONE]" not in response.text
    record = service.client.get(f"/v1/requests/{data['error']['request_id']}").json()
    assert record["error"] == "deadline_exceeded"


def test_a_fault_of_ours_tells_nothing_of_itself(service):
    service.model.faults, service.model.breaks_after = [ZeroDivisionError("secret")], 3
    response = ask(service)
    assert events(response)[-1][1]["error"]["code"] == "internal"
    assert "secret" not in response.text


def test_a_model_that_dies_is_asked_once_more_but_never_after_it_has_spoken(service):
    service.model.faults = [Unavailable("gone")]
    assert events(ask(service))[-2][1]["answer"] == "echo 多少钱？"
    service.model.faults, service.model.breaks_after = [Unavailable("gone")], 2
    assert events(ask(service))[-1][1]["error"]["code"] == "unavailable"


def test_under_overload_the_holding_reply_comes_whole(service):
    service.model.faults = [Overloaded("full", 3.0)]
    (_, reply), (_, end) = events(ask(service))
    assert (reply["level"], reply["retry_after_s"], end) == ("holding", 3.0, "[DONE]")
    service.model.faults = [Overloaded("full", 3.0)]
    refused = chat(service)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")


def test_a_bad_request_is_refused_as_without_streaming(service):
    response = ask(service, question=" ")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "question_empty")


def test_a_listener_that_goes_away_ends_the_models_work(service):
    async def listen():
        stream = service.pipeline.stream(Ask("id", time.time(), Upload.of(b"picture"), "多少钱？"))
        assert await anext(stream) == "e"
        await stream.aclose()

    asyncio.run(listen())
    assert service.model.streams_closed == 1
