"""The OpenAI chat surface: ``/v1/chat/completions`` with a picture by address or data URI, and ``/v1/models``.

One user message a request, with one picture; system messages belong to the operator (``system_prompt``). What we cannot
do is refused, never dropped silently. Sampling parameters are accepted and have no effect: decoding is deterministic.
"""

import base64
import binascii
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from deployments.errors import (
    ImageEncoding,
    ImageMissing,
    ImageTooLarge,
    NotFound,
    RequestError,
    TooManyImages,
    UnsupportedParameter,
)
from deployments.ingress.http.events import Event, event_stream
from deployments.ingress.http.routes import AskRoute, KeyedRoute
from deployments.ingress.pipeline import Ask, Pipeline, Reply
from deployments.ingress.uploads import Upload

asking = APIRouter(route_class=AskRoute)
keyed = APIRouter(route_class=KeyedRoute)
routers = (asking, keyed)


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    url: str


class ImagePart(BaseModel):
    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    role: str
    content: str | list[Part] | None = None


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The parts of OpenAI's chat request that mean something here; sampling parameters and the like are ignored."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    tools: list[Any] | None = None
    logprobs: bool | None = False


@asking.post("/v1/chat/completions")
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """OpenAI's chat completion about one picture. Overload is error 429, as its clients expect."""
    pipeline: Pipeline = request.app.state.pipeline
    _check_parameters(body, pipeline.model_name)
    text, image = question_of(body.messages, pipeline.knobs.max_body_bytes)
    max_new_tokens = body.max_completion_tokens or body.max_tokens
    tenant = request.state.tenant
    state = request.state
    asked = Ask(state.request_id, state.arrived, image, text, max_new_tokens, on_overload="error", tenant=tenant)
    if body.stream:
        chunks = Chunks(asked.request_id, pipeline.model_name, body.stream_options or StreamOptions())
        return await event_stream(pipeline.stream(asked), asked.request_id, chunks.of)
    return JSONResponse(_completion(await pipeline.ask(asked)))


@keyed.get("/v1/models")
async def models(request: Request) -> Response:
    pipeline: Pipeline = request.app.state.pipeline
    entry = {"id": pipeline.model_name, "object": "model", "created": 0, "owned_by": "tuwen"}
    return JSONResponse({"object": "list", "data": [entry]})


def question_of(messages: list[Message], max_bytes: int) -> tuple[str, Upload | str]:
    """Text and picture, or its address, of the one user message.

    Raises RequestError for any conversation we would misread.
    """
    if len(messages) != 1 or messages[0].role != "user":
        roles = ", ".join(message.role for message in messages)
        raise RequestError(
            f"send exactly one message, of role user (got: {roles}): each question goes with its picture"
        )
    content = messages[0].content
    parts = content if isinstance(content, list) else []
    text = content if isinstance(content, str) else "\n".join(p.text for p in parts if isinstance(p, TextPart))
    urls = list(dict.fromkeys(part.image_url.url for part in parts if isinstance(part, ImagePart)))
    if not urls:
        raise ImageMissing("there is no picture: add a part of type image_url with an address or a data URI")
    if len(urls) > 1:
        raise TooManyImages(f"{len(urls)} different pictures in one request: send one")
    is_data = urls[0].partition(":")[0].strip().lower() == "data"
    return text, Upload.of(decode_data_uri(urls[0], max_bytes)) if is_data else urls[0]


def decode_data_uri(uri: str, max_bytes: int) -> bytes:
    """The bytes of ``data:image/…;base64,…``. Raises ImageEncoding, and ImageTooLarge before it decodes anything."""
    header, comma, payload = uri.partition(":")[2].partition(",")
    media_type, *options = header.lower().split(";")
    if not comma or not media_type.startswith("image/") or "base64" not in options:
        raise ImageEncoding("the data URI must look like data:image/png;base64,…")
    if len(payload) * 3 // 4 > max_bytes + 2:
        raise ImageTooLarge(f"the picture has more than the {max_bytes} bytes allowed: send it smaller")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise ImageEncoding("the data URI is not valid base64: check alphabet and padding") from fault


def _check_parameters(body: ChatRequest, served: str) -> None:
    if body.model != served:
        raise NotFound(f"model {body.model} is not served here; {served} is")
    unsupported = {"n": (body.n or 1) > 1, "tools": bool(body.tools), "logprobs": bool(body.logprobs)}
    for name, given in unsupported.items():
        if given:
            raise UnsupportedParameter(f"the parameter `{name}` is not supported: leave it out")


class Chunks:
    """What comes of a stream as OpenAI's chunks: the role, the text, the end, and the usage if it was asked for."""

    def __init__(self, request_id: str, model: str, options: StreamOptions) -> None:
        self._head = {"id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk", "created": int(time.time()),
                      "model": model}  # fmt: skip
        self._options, self._begun = options, False

    def of(self, item: str | Reply) -> list[Event]:
        opening = [] if self._begun else [self._chunk({"role": "assistant", "content": ""})]
        self._begun = True
        if isinstance(item, str):
            return [*opening, self._chunk({"content": item})]
        ending = [self._chunk({}, item.finish_reason)]
        if self._options.include_usage:
            ending.append({**self._head, "choices": [], "usage": _usage(item)})
        return [*opening, *ending]

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head, "choices": [choice]} | ({"usage": None} if self._options.include_usage else {})


def _usage(reply: Reply) -> dict[str, int]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _completion(reply: Reply) -> dict[str, Any]:
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
