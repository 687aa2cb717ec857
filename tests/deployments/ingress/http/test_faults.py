"""Failures in the caller's terms, and an error path that no caller's bytes can break."""

import asyncio
import gzip
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import RequestError, tree
from deployments.ingress.http.page import PAGE
from deployments.ingress.http.responses import error_response

PICTURE = {"image": ("a.png", b"picture bytes", "image/png")}


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_an_error_becomes_a_response_whatever_its_words(message, request_id):
    response = error_response(request_id, RequestError(message))
    assert response.status_code == 400
    assert bytes(response.body).decode()


def test_a_message_without_end_is_cut():
    assert len(bytes(error_response("r", RequestError("x" * 10**6)).body)) < 1200


QUESTIONS = [
    ("half a pair", b"\xed\xa0\x80", "invalid_request"),
    ("a NUL", b"a\x00b", "invalid_request"),
    ("an escape", b"\x1b[31mred", "invalid_request"),
    ("nothing to see", "\u200b\ufeff\u202e\ufe0f".encode(), "question_empty"),
    ("wide spaces", "\u3000\u2003".encode(), "question_empty"),
]


@pytest.mark.parametrize(("question", "code"), [row[1:] for row in QUESTIONS], ids=[row[0] for row in QUESTIONS])
def test_a_question_that_is_no_text_is_refused(service, question, code):
    response = service.client.post("/v1/ask", files=PICTURE | {"question": (None, question)})
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert service.model.questions == []


FIELDS = [
    ({"max_new_tokens": "many"}, "`max_new_tokens` must be a whole number"),
    ({"max_new_tokens": "0"}, "`max_new_tokens` must be at least 1"),
    ({"on_overload": "wait"}, "`on_overload` must be 'answer' or 'error'"),
    ({"stream": "perhaps"}, "`stream` must be true or false"),
]


@pytest.mark.parametrize(("fields", "says"), FIELDS, ids=[says for _, says in FIELDS])
def test_a_field_that_cannot_be_is_named_in_plain_words(service, fields, says):
    error = service.client.post("/v1/ask", files=PICTURE, data={"question": "x"} | fields).json()["error"]
    assert error["code"] == "invalid_request"
    assert says in error["message"]


def test_a_picture_without_a_file_name_is_told_what_a_file_needs(service):
    form = {"question": (None, "x"), "image": (None, "abc")}
    error = service.client.post("/v1/ask", files=form).json()["error"]
    assert "`image` came without a file name" in error["message"]


@pytest.mark.parametrize("path", ["/v1/ask", "/chat"])
def test_a_packed_form_is_refused(service, path):
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Encoding": "gzip"}
    response = service.client.post(path, content=gzip.compress(b"--b--"), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert "without Content-Encoding" in response.json()["error"]["message"]


def test_a_client_that_goes_away_while_it_sends_is_no_fault_of_ours(service, caplog):
    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError("nobody is there to be answered")

    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers, "query_string": b""}
    asyncio.run(service.client.app(scope, receive, send))
    assert scope["state"]["error"] == "cancelled"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_page_has_chinese_words_for_every_code():
    page = PAGE.read_text(encoding="utf-8")
    for kind in tree():
        assert f'"error.{kind.code}": [' in page, kind.code
        assert f'  {kind.code}: "' in page, kind.code
