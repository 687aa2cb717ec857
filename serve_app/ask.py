"""Ask a running service one question about one picture."""

import os
from pathlib import Path
from typing import Any

import requests


class Refused(Exception):
    """The service answered with an error."""


class Unreachable(Exception):
    """Nobody answered, or not in time, or not with our contract's JSON."""


def ask(
    url: str, picture: Path, question: str, max_new_tokens: int | None = None, timeout_s: float = 60
) -> dict[str, Any]:
    """The JSON answer of ``POST /v1/ask``. The API key, if one is needed, is read from ``TUWEN_API_KEY``.

    Raises OSError (the picture cannot be read), Refused, Unreachable.
    """
    data: dict[str, Any] = {"question": question}
    if max_new_tokens is not None:
        data["max_new_tokens"] = max_new_tokens
    key = os.environ.get("TUWEN_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    files = {"image": (picture.name, picture.read_bytes())}
    try:
        response = requests.post(
            f"{url.rstrip('/')}/v1/ask", files=files, data=data, headers=headers, timeout=timeout_s
        )
        body = response.json()
    except requests.exceptions.JSONDecodeError as strange:
        raise Unreachable(f"{url} answered {response.status_code}, but not as this service does") from strange
    except requests.exceptions.RequestException as nobody:
        raise Unreachable(f"no answer from {url}: is the service running? (`serve run serve_config.yaml`)") from nobody
    if not response.ok:
        error = body.get("error", {})
        raise Refused(f"{error.get('message', response.reason)} [{error.get('code', response.status_code)}]")
    answer: dict[str, Any] = body
    return answer


def human(answer: dict[str, Any]) -> str:
    """The answer and one line on how it came about."""
    timing, usage = answer["timing_ms"], answer["usage"]
    stages = ", ".join(f"{stage} {timing[stage]}" for stage in ("fetch", "preprocess", "queue", "generate"))
    return (
        f"{answer['answer']}\n"
        f"  level {answer['level']}, {timing['total']} ms ({stages}), "
        f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens, request {answer['request_id']}"
    )
