"""What ``/v1/chat/completions`` takes, in JSON Schema, for OpenAPI. As near to what is taken as a schema can say it."""

from deployments.ingress.http.openai.messages import DETAILS, ECHOED, MAX_MESSAGES, MAX_PARTS
from deployments.ingress.http.openai.parameters import MAX_NEW_TOKENS, PARAMETERS
from deployments.ingress.http.openapi import READABLE, VISIBLE, Schema

NULL: Schema = {"type": "null"}
"""What any other name may have: null is as good as nothing."""
WORDS: Schema = {"type": "string", "pattern": READABLE}


def _object(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": NULL}


def _nullable(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def _message(roles: list[str], content: Schema, required: list[str] | None = None, **more: Schema) -> Schema:
    fields = {"role": {"enum": roles}, "content": content, "name": {}, "reasoning_content": {}} | more
    return _object(fields, required or ["role", "content"])


DIGIT = "[A-Za-z0-9+/]"
BASE64 = f"(?:{DIGIT}{{4}})*(?:{DIGIT}{{4}}|{DIGIT}{{3}}=|{DIGIT}{{2}}==)"
ADDRESS: Schema = {
    "type": "string",
    "pattern": rf"^(https?://[^/?#\s\\]\S*|data:image/[a-z0-9.+-]+;base64,{BASE64})$",
    "description": "http, https, or data:image/png;base64,…",
}


def _text_part(text: Schema) -> Schema:
    return _object({"type": {"const": "text"}, "text": text, "cache_control": {}}, ["type", "text"])


TEXT_PART = _text_part(WORDS)
IMAGE_PART = _object(
    {
        "type": {"const": "image_url"},
        "image_url": {"anyOf": [ADDRESS, _object({"url": ADDRESS, "detail": {"enum": list(DETAILS)}}, ["url"])]},
        "cache_control": {},
    },
    ["type", "image_url"],
)
TEXT: Schema = {"anyOf": [WORDS, {"type": "array", "items": TEXT_PART, "maxItems": MAX_PARTS}]}
ASKING: Schema = {
    "description": "the question and its picture",
    "type": "array",
    "items": {"anyOf": [TEXT_PART, IMAGE_PART]},
    "maxItems": MAX_PARTS,
    "allOf": [{"contains": _text_part({"type": "string", "pattern": VISIBLE})}, {"contains": IMAGE_PART}],
}
EMPTY: Schema = {"enum": [None, "", [], {}, False, 0]}
MESSAGE: Schema = {
    "anyOf": [
        _message(["user"], {"anyOf": [TEXT, ASKING]}),
        _message(["system", "developer"], TEXT),
        _message(["assistant"], {"anyOf": [TEXT, NULL]}, ["role"], **dict.fromkeys(ECHOED, EMPTY)),
    ]
}
TOKENS: Schema = {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_NEW_TOKENS}
STREAM_OPTIONS: Schema = {
    "anyOf": [
        NULL,
        _object(
            {
                "include_usage": _nullable("boolean"),
                "continuous_usage_stats": _nullable("boolean"),
                "include_obfuscation": {"enum": [None, False]},
            },
            [],
        ),
    ]
}
LIMITS = ("max_tokens", "max_completion_tokens")
BOTH: Schema = {"required": list(LIMITS), "properties": {name: {"type": "integer"} for name in LIMITS}}
CHAT_REQUEST: Schema = _object(
    {
        "model": {"type": "string"},
        "messages": {
            "type": "array",
            "items": MESSAGE,
            "minItems": 1,
            "maxItems": MAX_MESSAGES,
            "contains": _message(["user"], ASKING),
            "description": "the last one is the user's: the question and its picture; earlier ones are text",
        },
        **dict.fromkeys(LIMITS, TOKENS),
        "stream": _nullable("boolean"),
        "stream_options": STREAM_OPTIONS,
        **{name: parameter.schema for name, parameter in PARAMETERS.items()},
    },
    ["model", "messages"],
) | {"not": BOTH}
