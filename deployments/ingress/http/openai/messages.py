"""OpenAI's messages as a conversation about one picture: what was said before, and the question at the end.

The picture belongs into the last message, with the question; earlier turns are words. A message that would be
misread is refused: nothing of it is dropped in silence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployments.contract import Turn
from deployments.errors import ImageMissing, RequestError, TooManyImages, UnsupportedParameter
from deployments.ingress.http.openai.parameters import unknown
from deployments.texts import quoted

Role = Literal["system", "user", "assistant"]

MAX_MESSAGES = 100
MAX_PARTS = 100
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
IMAGE_URL = '{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}'
DETAILS = (None, "auto", "low", "high")

ECHOED = ("refusal", "tool_calls", "function_call", "annotations", "audio")
"""Fields of an assistant's message as clients echo it, null or empty."""
MESSAGE_FIELDS = ("role", "content", "name", "reasoning_content", *ECHOED)
PART_FIELDS = ("type", "text", "image_url", "cache_control")

OTHER_PARTS = {
    "input_text": 'it belongs to another API: write {"type": "text", "text": "…"}',
    "input_image": f"it belongs to another API: write {IMAGE_URL}",
    "image": f"it belongs to another API: write {IMAGE_URL}",
    "image_file": f"it belongs to another API: write {IMAGE_URL}",
    "file": f"files are not read; a picture goes into {IMAGE_URL}",
    "input_audio": "audio is not heard: send text and a picture",
    "video": "videos are not seen: send one picture of it",
    "video_url": "videos are not seen: send one picture of it",
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """``image`` is the picture's address or data URI; ``turns`` is what was said before the question."""

    turns: tuple[Turn, ...]
    text: str
    image: str


def conversation(messages: Any) -> Conversation:
    """Raises RequestError, ImageMissing, TooManyImages or UnsupportedParameter, naming the message."""
    if not isinstance(messages, list) or not messages:
        raise RequestError("`messages` must be a list of messages, with the question and its picture in the last one")
    if len(messages) > MAX_MESSAGES:
        raise RequestError(f"there are {len(messages)} messages, more than the {MAX_MESSAGES} allowed: send the latest")
    said = [_message(message, f"messages[{at}]") for at, message in enumerate(messages)]
    last = said[-1]
    if last.role != "user":
        raise RequestError(f"the last message must be of role user: it asks the question (it is of role {last.role})")
    for message in said[:-1]:
        if message.images:
            raise RequestError(
                f"{message.where} has a picture, and a later message asks: put the picture into the last message, "
                "with the question"
            )
    turns = tuple(Turn(message.role, message.text) for message in said[:-1])
    return Conversation(turns, last.text, _only(last.images))


@dataclass(frozen=True, slots=True)
class _Message:
    where: str
    role: Role
    text: str
    images: tuple[str, ...]


def _message(message: Any, where: str) -> _Message:
    if not isinstance(message, dict):
        raise RequestError(f'{where} must be an object such as {{"role": "user", "content": …}}')
    role = _role(message.get("role"), where)
    _check_fields(message, MESSAGE_FIELDS, where)
    for name in ECHOED:
        if message.get(name):
            raise UnsupportedParameter(f"{where}.{name} is not supported: leave it out")
    content = message.get("content")
    if content is None and role == "assistant":  # as a client echoes an answer that was broken off
        content = ""
    parts = list(_parts(content, f"{where}.content"))
    images = tuple(url for url, _ in parts if url is not None)
    if images and role != "user":
        raise RequestError(f"{where} is of role {role} and has a picture: put it into the last message, of role user")
    return _Message(where, role, "\n".join(text for _, text in parts if text is not None), images)


def _role(role: Any, where: str) -> Role:
    if role in ("tool", "function"):
        raise RequestError(f"{where} is of role {role}: the model calls no tools; write what they said as user")
    if not isinstance(role, str) or role not in ROLES:
        got = quoted(role) if isinstance(role, str) else "none"
        raise RequestError(f"{where}.role must be one of {', '.join(ROLES)} (got {got})")
    return ROLES[role]


def _parts(content: Any, where: str) -> Iterator[tuple[str | None, str | None]]:
    """(picture's address, None) or (None, text) for each part."""
    if isinstance(content, str):
        yield None, content
        return
    if not isinstance(content, list):
        raise RequestError(f"{where} must be text, or a list of parts of type text and image_url")
    if len(content) > MAX_PARTS:
        raise RequestError(f"{where} has {len(content)} parts, more than the {MAX_PARTS} allowed")
    for at, part in enumerate(content):
        yield _part(part, f"{where}[{at}]")


def _part(part: Any, where: str) -> tuple[str | None, str | None]:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise RequestError(f'{where} must be an object with a type: {{"type": "text", "text": "…"}} or {IMAGE_URL}')
    if kind not in ("text", "image_url"):
        advice = OTHER_PARTS.get(kind, "send parts of type text and image_url")
        raise RequestError(f"{where} is of type {quoted(kind)}: {advice}")
    _check_fields(part, PART_FIELDS, where)
    if kind == "image_url":
        return _address(part.get("image_url"), f"{where}.image_url"), None
    text = part.get("text")
    if not isinstance(text, str):
        raise RequestError(f"{where}.text must be text")
    return None, text


def _address(image_url: Any, where: str) -> str:
    """The address in ``{"url": …, "detail": …}``; some clients write the address alone."""
    if isinstance(image_url, str):
        return image_url
    url = image_url.get("url") if isinstance(image_url, dict) else None
    if not isinstance(url, str):
        raise RequestError(f'{where} must be {{"url": "…"}} with an address or a data URI')
    _check_fields(image_url, ("url", "detail"), where)
    if image_url.get("detail") not in DETAILS:
        raise UnsupportedParameter(f"{where}.detail may be auto, low or high; every picture is seen as well as can be")
    return url


def _check_fields(given: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for name, value in given.items():
        if value is not None and name not in known:
            raise UnsupportedParameter(f"in {where}, {unknown(name, known)}")


def _only(images: Sequence[str]) -> str:
    """The one picture; sent several times it counts once."""
    if not images:
        raise ImageMissing(f"there is no picture in the last message: add a part {IMAGE_URL}, or with an address")
    if others := [url for url in images if url != images[0]]:
        raise TooManyImages(f"there are {len(others) + 1} pictures in the last message: send one")
    return images[0]
