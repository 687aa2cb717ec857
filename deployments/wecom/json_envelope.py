"""The JSON of AI bots: the envelope around the ciphertext, and the reply's."""

import json
from typing import Any

from deployments.errors import RequestError
from deployments.wecom.crypto import Sealed

DEEPEST = 32
"""Levels of nesting; real messages have five."""


def read_json(data: bytes | str) -> dict[str, Any]:
    """An object, read tolerantly: WeCom's frames may hold raw control characters in strings. Raises RequestError."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError) as fault:
        raise RequestError("the body is not JSON") from fault
    if not isinstance(value, dict) or _depth(value) > DEEPEST:
        raise RequestError("the body is not a JSON object of a message")
    return value


def ciphertext_of_json(data: bytes) -> str:
    """What the envelope encloses. Raises RequestError."""
    fields = read_json(data)
    encrypt = fields.get("encrypt") or fields.get("Encrypt")
    if not isinstance(encrypt, str) or not encrypt.strip():
        raise RequestError("the envelope has no encrypt")
    return encrypt.strip()


def reply_json(sealed: Sealed) -> str:
    """A passive reply as a bot's callback returns it: ``msgsignature`` in one word, the timestamp as a number."""
    return json.dumps(
        {
            "encrypt": sealed.encrypt,
            "msgsignature": sealed.signature,
            "timestamp": int(sealed.timestamp) if sealed.timestamp.isdecimal() else sealed.timestamp,
            "nonce": sealed.nonce,
        }
    )


def _depth(value: Any) -> int:
    """Levels of nesting, counted without recursion."""
    deepest, level = 0, [value]
    while level and deepest <= DEEPEST:
        deepest += 1
        inner = [part for part in level if isinstance(part, dict | list)]
        level = [part for one in inner for part in (one.values() if isinstance(one, dict) else one)]
    return deepest
