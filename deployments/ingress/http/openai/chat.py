"""OpenAI's chat request: from the body's bytes to a conversation, its picture, and the few wishes with an effect."""

from dataclasses import dataclass
from typing import Any

from deployments.errors import RequestError
from deployments.ingress.http.json_body import read_json
from deployments.ingress.http.openai.data_uri import decode_data_uri, is_data_uri
from deployments.ingress.http.openai.messages import Conversation, conversation
from deployments.ingress.http.openai.parameters import check_parameters, flag, includes_usage, max_new_tokens
from deployments.ingress.models import Models
from deployments.ingress.uploads import Upload

MAX_USER_CHARS = 64


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """``image`` is the picture, or its address."""

    model: str
    conversation: Conversation
    image: Upload | str
    max_new_tokens: int | None
    stream: bool
    include_usage: bool
    user: str = ""


def read_chat(body: bytes, served: Models, max_bytes: int) -> ChatRequest:
    """The request that the body states, for one of the models ``served``, with a picture of at most ``max_bytes``.

    Raises RequestError and those below it. Plain computation, of up to a tenth of a second: not for the event loop.
    """
    given = read_json(body)
    if not isinstance(given, dict):
        raise RequestError("the body must be a JSON object with `model` and `messages`")
    model = _model(given.get("model"), served)
    check_parameters(given)
    said = conversation(given.get("messages"))
    tokens, stream = max_new_tokens(given), flag(given.get("stream"), "stream")
    include_usage = includes_usage(given.get("stream_options"))
    user = str(given.get("user") or "")[:MAX_USER_CHARS]
    return ChatRequest(model, said, _image(said.image, max_bytes), tokens, stream, include_usage, user)


def _image(address: str, max_bytes: int) -> Upload | str:
    return Upload.of(decode_data_uri(address, max_bytes)) if is_data_uri(address) else address


def _model(name: Any, served: Models) -> str:
    if not isinstance(name, str):
        raise RequestError(f"`model` must be the name of the served model: {' or '.join(served.names)}")
    return served.of(name).model_name
