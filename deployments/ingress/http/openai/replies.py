"""What the pipeline gives, as OpenAI's clients read it: a completion, or its chunks."""

import time
from typing import Any

from deployments.ingress.asking import Reply
from deployments.ingress.http.events import Event


def completion(reply: Reply) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.request_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": reply.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.answer, "refusal": None},
                "logprobs": None,
                "finish_reason": reply.finish_reason,
            }
        ],
        "usage": _usage(reply),
    }


class Chunks:
    """What comes of a stream as OpenAI's chunks: the role, the text, the end, and the usage if it was asked for."""

    def __init__(self, request_id: str, model: str, include_usage: bool) -> None:
        self._head = {"id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk", "created": int(time.time()),
                      "model": model}  # fmt: skip
        self._include_usage, self._begun = include_usage, False

    def of(self, item: str | Reply) -> list[Event]:
        opening = [] if self._begun else [self._chunk({"role": "assistant", "content": ""})]
        self._begun = True
        if isinstance(item, str):
            return [*opening, self._chunk({"content": item})]
        ending = [self._chunk({}, item.finish_reason)]
        if self._include_usage:
            ending.append({**self._head, "choices": [], "usage": _usage(item)})
        return [*opening, *ending]

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head, "choices": [choice]} | ({"usage": None} if self._include_usage else {})


def _usage(reply: Reply) -> dict[str, int]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
