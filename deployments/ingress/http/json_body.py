"""A request's JSON, strictly and in bounded time, though it carries a picture of many megabytes.

Every call into C holds the interpreter, event loop included, wherever it runs. So the pictures' base64 is found by two
searches and set aside before anything parses, and what is left has a limit.
"""

import json
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

from deployments.errors import BodyTooLarge, RequestError
from deployments.texts import check_readable, quoted

BASE64 = b";base64,"
MIN_PAYLOAD_BYTES = 16 * 1024
"""Shorter base64 stays where it is: parsing it costs nothing."""
SLICE_BYTES = 1024 * 1024
"""Worked on at a time."""
MAX_REST_BYTES = 1024 * 1024
MAX_VALUES = 20_000
MAX_PICTURES = 64
MAX_DEPTH = 100
NESTED = f"the JSON is nested too deeply: {MAX_DEPTH} levels are taken"

Found = tuple[int, int]


def read_json(body: bytes) -> Any:
    """The value that the body is in JSON (RFC 8259), with no name given twice in an object.

    Raises RequestError for anything else, BodyTooLarge for more than ``MAX_REST_BYTES`` beside its data URIs.
    """
    found = list(_payloads(body))
    if len(body) - sum(end - start for start, end in found) > MAX_REST_BYTES:
        raise BodyTooLarge(
            f"the JSON beside its picture has more than {MAX_REST_BYTES} bytes: send the picture as a data URI, "
            "data:image/png;base64,…, and less besides"
        )
    token = secrets.token_hex(16)
    try:
        skeleton = _parsed(_without(body, found, token))
        return _Restored(token, [_plain(body, start, end) for start, end in found]).value(skeleton)
    except RecursionError as fault:
        raise RequestError(NESTED) from fault


def _without(body: bytes, found: list[Found], token: str) -> bytes:
    """The body with a token and a number for each payload."""
    pieces, at = [], 0
    for number, (start, end) in enumerate(found):
        pieces += [body[at:start], f"{token}{number:02}".encode()]
        at = end
    return b"".join([*pieces, body[at:]])


def _payloads(body: bytes) -> Iterator[Found]:
    """Where long base64 stands, at most ``MAX_PICTURES`` times: from after ``;base64,`` to the end of its string."""
    at = 0
    for _ in range(MAX_PICTURES):
        start = body.find(BASE64, at)
        if start < 0:
            return
        start += len(BASE64)
        at = end = body.find(b'"', start)
        if end < 0:
            return
        if end - start >= MIN_PAYLOAD_BYTES and _is_simple(body, start, end):
            yield start, end


def _is_simple(body: bytes, start: int, end: int) -> bool:
    r"""Whether it is ASCII that reads the same outside JSON but for ``\/``, as PHP writes every slash."""
    for at in range(start, end, SLICE_BYTES):
        to = min(at + SLICE_BYTES, end)
        escapes = body.count(b"\\", at, to)
        if (escapes and escapes != body.count(b"\\/", at, to + 1)) or not body[at:to].isascii():
            return False
    return True


def _plain(body: bytes, start: int, end: int) -> str:
    """What stands there, as a string without the backslashes."""
    slices = (body[at : min(at + SLICE_BYTES, end)] for at in range(start, end, SLICE_BYTES))
    return "".join([(piece.translate(None, b"\\") if b"\\" in piece else piece).decode() for piece in slices])


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise RequestError("the body is not UTF-8: JSON is always sent in UTF-8") from fault


def _parsed(data: bytes) -> Any:
    text = _decoded(data.removeprefix(b"\xef\xbb\xbf"))
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise RequestError(f"the JSON has more than {MAX_VALUES} values: send fewer messages")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as fault:
        raise RequestError(
            f"the body is not valid JSON: {fault.msg} in line {fault.lineno}, column {fault.colno}"
        ) from fault
    except ValueError as fault:
        raise RequestError("the JSON has a number of too many digits") from fault


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, times = Counter(name for name, _ in pairs).most_common(1)[0]
        raise RequestError(f"the JSON gives {quoted(twice)} {times} times in one object: send it once")
    return found


def _no_constant(name: str) -> NoReturn:
    raise RequestError(f"the JSON has {name}, which is no number in JSON")


class _Restored:
    """Puts the payloads back into what was parsed without them, and refuses text that is no Unicode on the way."""

    def __init__(self, token: str, payloads: list[str]) -> None:
        self._token, self._payloads = re.compile(token + r"(\d\d)"), payloads

    def value(self, value: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise RequestError(NESTED)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.value(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {self._text(name): self.value(item, depth + 1) for name, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        if not text.isascii():
            _check_pairs(text)
        if not self._payloads:
            return text
        return self._token.sub(lambda match: self._payloads[int(match[1])], text)


def _check_pairs(text: str) -> None:
    """Raises RequestError for half a surrogate pair, with its place."""
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        check_readable(text[fault.start], "the text that begins with " + quoted(text[:20]))
