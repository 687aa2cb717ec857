"""What OpenAPI tells of the routes beside their fields: the failures each can end in, and who may ask."""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from deployments.errors import (
    BodyTooLarge,
    BodyTooSlow,
    HostNotAllowed,
    MethodNotAllowed,
    NotFound,
    OriginNotAllowed,
    RequestError,
    TooManyUploads,
    TuwenError,
    Unauthorized,
    tree,
)

Schema = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

PUBLIC = (TuwenError, RequestError, HostNotAllowed, OriginNotAllowed, BodyTooSlow, BodyTooLarge, TooManyUploads)
"""How any route can fail, whatever it does."""
KEYED = (*PUBLIC, Unauthorized)
"""How a route that asks for a key can fail."""
ASKING = tuple(kind for kind in tree() if kind not in (Unauthorized, NotFound, MethodNotAllowed))
"""How a question about a picture can fail."""

EVENTS: Schema = {"text/event-stream": {}}
SCHEME = "apiKey"
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "One of the operator's API keys; not asked for where none are configured.",
}


UNUSED = ("HTTPValidationError", "ValidationError")
"""FastAPI's components that nothing refers to: ours say more."""


class Fault(BaseModel):
    code: str = Field(description="one of those in docs/errors.md")
    message: str = Field(description="what is wrong, and what to do")
    request_id: str


class Failure(BaseModel):
    """The one shape of every failure."""

    error: Fault


def failures(*kinds: type[TuwenError]) -> Responses:
    """FastAPI's ``responses`` for errors of these kinds: one for each status, with its codes."""
    statuses = sorted({kind.status for kind in kinds})
    return {status: {"model": Failure, "description": ", ".join(_codes(kinds, status))} for status in statuses}


def _codes(kinds: Iterable[type[TuwenError]], status: int) -> list[str]:
    return list(dict.fromkeys(f"`{kind.code}`" for kind in kinds if kind.status == status))


_CHARACTER = r"[^\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]"
_SEEN = r"[^\s\x00-\x1f\x7f-\xa0\xad\u0300-\u036f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
READABLE = f"^{_CHARACTER}*$"
"""A text without control characters."""
VISIBLE = f"^{_CHARACTER}*{_SEEN}{_CHARACTER}*$"
"""One that shows something; of what no font shows, only the usual characters."""
IMAGE: Schema = {"type": "string", "format": "binary", "minLength": 1, "description": "the picture, a file"}


def form(model: type[BaseModel], question: str) -> Schema:
    """FastAPI's ``openapi_extra`` for a form of the model's texts and a picture, as a file or by its address."""
    texts = {name: _not_null(schema) for name, schema in model.model_json_schema()["properties"].items()}
    schema = {
        "type": "object",
        "properties": {"image": IMAGE, **texts},
        "required": [question],
        "oneOf": [{"required": [name]} for name in ("image", "image_url") if name in ("image", *texts)],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _not_null(schema: Schema) -> Schema:
    """A field's schema without null, which no form can send."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return rest | kinds[0] if kinds else schema


class DescribedApp(FastAPI):
    """FastAPI with the truth in its OpenAPI: no validation errors of FastAPI's own form, and keys where they are asked.

    A route that can end in 401 asks for a key.
    """

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            for operation in _operations(schema):
                _describe(operation)
            components = schema["components"]
            components["schemas"] = {n: s for n, s in components["schemas"].items() if not n.startswith(UNUSED)}
            components["securitySchemes"] = {SCHEME: BEARER}
            self.openapi_schema = schema
        return self.openapi_schema


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        yield from path.values()


def _describe(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if "401" in responses:
        operation["security"] = [{SCHEME: []}, {}]
