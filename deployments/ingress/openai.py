"""The OpenAI chat surface: ``/v1/chat/completions`` with pictures as data URIs, and ``/v1/models``.

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
    ImageUrlUnsupported,
    NotFound,
    RequestError,
    StreamUnsupported,
    TooManyImages,
    UnsupportedParameter,
)
from deployments.ingress.pipeline import Ask, Pipeline, Reply

router = APIRouter()


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


class ChatRequest(BaseModel):
    """The parts of OpenAI's chat request that mean something here; sampling parameters and the like are ignored."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stream: bool | None = False
    n: int | None = 1
    tools: list[Any] | None = None
    logprobs: bool | None = False


@router.post("/v1/chat/completions")
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """OpenAI's chat completion about one picture. Overload is error 429, as its clients expect."""
    pipeline: Pipeline = request.app.state.pipeline
    _check_parameters(body, pipeline.model_name)
    text, image = question_of(body.messages)
    max_new_tokens = body.max_completion_tokens or body.max_tokens
    reply = await pipeline.ask(Ask(request.state.request_id, image, text, max_new_tokens, on_overload="error"))
    return JSONResponse(_completion(reply))


@router.get("/v1/models")
async def models(request: Request) -> Response:
    pipeline: Pipeline = request.app.state.pipeline
    entry = {"id": pipeline.model_name, "object": "model", "created": 0, "owned_by": "tuwen"}
    return JSONResponse({"object": "list", "data": [entry]})


def question_of(messages: list[Message]) -> tuple[str, bytes]:
    """Text and picture of the one user message. Raises RequestError for any conversation we would misread."""
    if len(messages) != 1 or messages[0].role != "user":
        roles = ", ".join(message.role for message in messages)
        raise RequestError(
            f"send exactly one message, of role user (got: {roles}): each question goes with its picture"
        )
    content = messages[0].content
    parts = content if isinstance(content, list) else []
    text = content if isinstance(content, str) else "\n".join(p.text for p in parts if isinstance(p, TextPart))
    urls = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
    if not urls:
        raise ImageMissing("there is no picture: add a part of type image_url with a data URI")
    if len(urls) > 1:
        raise TooManyImages(f"{len(urls)} pictures in one request: send one")
    return text, decode_data_uri(urls[0])


def decode_data_uri(uri: str) -> bytes:
    """The bytes of ``data:image/…;base64,…``. Raises ImageUrlUnsupported for any other kind of address."""
    scheme, _, rest = uri.partition(":")
    if scheme.strip().lower() != "data":
        raise ImageUrlUnsupported("pictures by address are not fetched yet: send a data URI (data:image/png;base64,…)")
    header, comma, payload = rest.partition(",")
    media_type, *options = header.lower().split(";")
    if not comma or not media_type.startswith("image/") or "base64" not in options:
        raise ImageEncoding("the data URI must look like data:image/png;base64,…")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise ImageEncoding("the data URI is not valid base64: check alphabet and padding") from fault


def _check_parameters(body: ChatRequest, served: str) -> None:
    if body.model != served:
        raise NotFound(f"model {body.model} is not served here; {served} is")
    if body.stream:
        raise StreamUnsupported("answers are not streamed yet: leave `stream` out")
    unsupported = {"n": (body.n or 1) > 1, "tools": bool(body.tools), "logprobs": bool(body.logprobs)}
    for name, given in unsupported.items():
        if given:
            raise UnsupportedParameter(f"the parameter `{name}` is not supported: leave it out")


def _completion(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
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
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }
