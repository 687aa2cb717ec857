"""How each kind of service is asked over HTTP, and where its answer stands in the reply."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.questions import Asked

MAX_NEW_TOKENS = 200
"""Of every service alike; the answers end by themselves before."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """``content`` gives the keywords of ``httpx.Client.build_request``, ``answer`` reads a reply's JSON."""

    path: str
    content: Callable[[Asked], dict[str, Any]]
    answer: Callable[[Mapping[str, Any]], str]


def _form(asked: Asked) -> dict[str, Any]:
    file = Path(asked.file)
    fields = {"question": asked.text, "max_new_tokens": str(MAX_NEW_TOKENS), "on_overload": "error"}
    return {"files": {"image": (file.name, file.read_bytes())}, "data": fields}


def _chat(asked: Asked) -> dict[str, Any]:
    file = Path(asked.file)
    kind = "jpeg" if file.suffix == ".jpg" else "png"
    uri = f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": asked.text}]
    return {"json": {"messages": [{"role": "user", "content": content}], "max_tokens": MAX_NEW_TOKENS}}


DIALECTS = {
    "form": Dialect("/v1/ask", _form, lambda reply: str(reply["answer"])),
    "chat": Dialect("/v1/chat/completions", _chat, lambda reply: str(reply["choices"][0]["message"]["content"])),
}
