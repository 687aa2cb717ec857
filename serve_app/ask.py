"""Ask a running service one question about one picture."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve_app.client import Reply, Unreachable, call
from serve_app.exits import one_line
from serve_app.files import read_file

LARGEST_PICTURE_BYTES = 1024**3
"""No service takes one as large; a device or an endless pipe named as a picture ends here."""


class AskError(ValueError):
    """What is asked, or with which key, cannot be sent."""


class Refused(Exception):
    """The service answered with an error."""


class Busy(Exception):
    """The service has no room now; ``answer`` is its holding reply, or None after a refusal."""

    def __init__(self, message: str, answer: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.answer = answer


def ask(
    url: str,
    picture: Path,
    question: str,
    max_new_tokens: int | None = None,
    timeout_s: float = 60,
    model: str | None = None,
) -> dict[str, Any]:
    """The JSON answer of ``POST /v1/ask``, of the first model if none is named.

    The API key, if one is needed, is read from ``TUWEN_API_KEY``.

    Raises AskError, OSError (the picture cannot be read), Refused, Busy, Unreachable.
    """
    wishes = {"max_new_tokens": max_new_tokens, "model": model}
    data = {"question": sendable(question)} | {name: wish for name, wish in wishes.items() if wish is not None}
    headers = key_header(os.environ.get("TUWEN_API_KEY", ""))
    name = picture.name.encode("utf-8", "replace").decode() or "picture"
    form = {"data": data, "files": {"image": (name, read_file(picture, LARGEST_PICTURE_BYTES))}}
    return answer_of(call(f"{url.rstrip('/')}/v1/ask", timeout_s, headers, form))


def sendable(question: str) -> str:
    """Raises AskError."""
    if not question.strip():
        raise AskError("the question is empty")
    try:
        question.encode()
    except UnicodeEncodeError as fault:
        raise AskError("the question is not valid UTF-8: set the terminal to UTF-8") from fault
    return question


def key_header(key: str) -> dict[str, str]:
    """Raises AskError, which never shows the key."""
    wrong = next((number for number, letter in enumerate(key, start=1) if not "!" <= letter <= "~"), None)
    if wrong is not None:
        raise AskError(f"TUWEN_API_KEY is no key: character {wrong} of {len(key)} is not a visible ASCII character")
    return {"Authorization": f"Bearer {key}"} if key else {}


def answer_of(reply: Reply) -> dict[str, Any]:
    """The answer in a reply of ``/v1/ask``. Raises Refused, Busy, Unreachable."""
    body = reply.body if isinstance(reply.body, dict) else {}
    error = body.get("error")
    if reply.status == 429:
        raise Busy(f"the service is busy: ask again after {retry_after(reply.headers, body)}")
    if reply.status == 200 and is_answer(body):
        if body["level"] == "holding":
            raise Busy(f"the service is busy: ask again after {retry_after(reply.headers, body)}", body)
        return body
    if reply.status >= 400 and isinstance(error, dict) and {"code", "message"} <= error.keys():
        raise Refused(f"{one_line(error['message'])} [{one_line(error['code'], 60)}]")
    raise Unreachable(reply.foreign())


def is_answer(body: Mapping[str, Any]) -> bool:
    """Whether a JSON object is an answer as this service gives it."""
    return all(isinstance(body.get(name), str) for name in ("answer", "level", "request_id"))


def retry_after(headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    wait = body.get("retry_after_s", headers.get("retry-after"))
    return f"{one_line(wait, 20)} s" if wait is not None else "a moment"


def human(answer: Mapping[str, Any]) -> str:
    """The answer and one line on how it came about."""
    timing, usage = (part if isinstance(part := answer.get(name), dict) else {} for name in ("timing_ms", "usage"))
    stages = ", ".join(f"{stage} {timing.get(stage, '?')}" for stage in ("fetch", "preprocess", "queue", "generate"))
    tokens = f"{usage.get('prompt_tokens', 0)} + {usage.get('completion_tokens', 0)} tokens"
    return (
        f"{answer['answer']}\n"
        f"  level {answer['level']}, {timing.get('total', '?')} ms ({stages}), {tokens}, request {answer['request_id']}"
    )
