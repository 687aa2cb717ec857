"""The REST surface: ``/v1/ask``, ``/chat``, ``/v1/requests/{id}``, ``/healthz``."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.errors import ImageMissing, NotFound, RequestError, TuwenError
from deployments.ingress.http.events import Event, event_stream
from deployments.ingress.http.forms import read_form
from deployments.ingress.http.responses import told
from deployments.ingress.http.routes import AskRoute, KeyedRoute, PublicRoute
from deployments.ingress.pipeline import Ask, OnOverload, Pipeline, Reply
from deployments.ingress.uploads import Upload

asking = APIRouter(route_class=AskRoute)
keyed = APIRouter(route_class=KeyedRoute)
public = APIRouter(route_class=PublicRoute)


class AskForm(BaseModel):
    """The texts of ``/v1/ask``'s form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_url: str | None = Field(None, description="or its address, http or https")
    question: str = Field("", description="what to say about it")
    max_new_tokens: int | None = Field(None, ge=1, description="longest answer, in tokens")
    stream: bool = Field(False, description="the answer as it comes, as server-sent events")
    on_overload: OnOverload = Field("answer", description="holding reply, or error 429")


class ChatForm(BaseModel):
    """The texts of the customer-service form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field("", description="the customer's words")


F = TypeVar("F", bound=BaseModel)


def answer_body(reply: Reply) -> dict[str, Any]:
    """The reply as the contract's JSON; ``retry_after_s`` only where there is one."""
    body = asdict(reply)
    if body["retry_after_s"] is None:
        del body["retry_after_s"]
    return body


def form_schema(model: type[BaseModel]) -> dict[str, Any]:
    """How OpenAPI describes a form of the model's texts and a picture."""
    schema = model.model_json_schema()
    picture = {"type": "string", "contentMediaType": "application/octet-stream", "description": "the picture, a file"}
    properties = {"image": picture, **schema["properties"]}
    form = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


async def asked(request: Request, model: type[F]) -> tuple[F, Upload | None]:
    """The form's texts, checked, and its picture if there is one. Raises RequestError."""
    form = await read_form(request, frozenset(model.model_fields), frozenset(("image",)))
    image = form.files.get("image")
    try:
        return model.model_validate(form.texts), image
    except ValidationError as fault:
        if image is not None:
            image.close()
        raise RequestError(told(fault.errors())) from None


def picture(image: Upload | None, image_url: str | None = None) -> Upload | str:
    """The file, or the URL where it is to be fetched."""
    if image is not None and image_url:  # a form sends a field that was left empty
        image.close()
        raise RequestError("send the picture in `image` or its address in `image_url`, not both")
    if image_url:
        return image_url
    if image is None:
        raise ImageMissing(
            "there is no picture: send one in the multipart field `image`, or its address in `image_url`"
        )
    return image


@asking.post("/v1/ask", response_model=Reply, openapi_extra=form_schema(AskForm))
async def ask(request: Request) -> Response:
    """Answer a question about a picture.

    With `stream`, events `{"delta": text}` as the answer comes, then the whole reply, then `[DONE]`.
    """
    form, image = await asked(request, AskForm)
    wanted = Ask(
        request.state.request_id,
        request.state.arrived,
        picture(image, form.image_url),
        form.question,
        form.max_new_tokens,
        form.on_overload,
        request.state.tenant,
    )
    if form.stream:
        pipeline: Pipeline = request.app.state.pipeline
        return await event_stream(pipeline.stream(wanted), wanted.request_id, _events)
    return await _answered(request, wanted)


@asking.post("/chat", response_model=Reply, openapi_extra=form_schema(ChatForm))
async def chat(request: Request) -> Response:
    """The customer-service form of ``/v1/ask``."""
    form, image = await asked(request, ChatForm)
    state = request.state
    return await _answered(
        request, Ask(state.request_id, state.arrived, picture(image), form.text, tenant=state.tenant)
    )


@keyed.get("/v1/requests/{request_id}")
async def record(request: Request, request_id: str) -> Response:
    """How a past request went; never its picture or words."""
    pipeline: Pipeline = request.app.state.pipeline
    found = await pipeline.records.get(request.state.tenant, request_id)
    if found is None:
        raise NotFound(f"no request {request_id} is remembered: only the newest are")
    shown = asdict(found)
    del shown["tenant"]
    return JSONResponse(shown)


@public.get("/healthz")
async def healthz(request: Request) -> Response:
    """Readiness, and what serves; 503 until the model answers. `rejected` says which knobs were refused."""
    pipeline: Pipeline = request.app.state.pipeline
    try:
        info, taken = await pipeline.watch.info(), await pipeline.preprocessor_watch.info()
    except TuwenError as fault:
        return JSONResponse({"ready": False, "reason": str(fault), "limits": _limits(pipeline)}, status_code=503)
    rejected = [*pipeline.rejected, *taken.rejected, *info.rejected]
    return JSONResponse(
        {
            "ready": True,
            "model": info.name,
            "device": info.device,
            "dtype": info.dtype,
            "quantization": info.quantization,
            "parameters": info.parameters,
            "engine": info.engine,
            "level": pipeline.watch.level,
            "safety": list(pipeline.safety),
            "cache": "none" if pipeline.cache is None else pipeline.cache.name,
            "cache_status": "ok" if pipeline.cache is None else pipeline.cache.status(),
            "limits": _limits(pipeline),
            **({"rejected": rejected} if rejected else {}),
        }
    )


def _limits(pipeline: Pipeline) -> Mapping[str, Any]:
    """What the page checks before it uploads."""
    knobs, taken = pipeline.knobs, pipeline.preprocessor_watch.known
    return {
        "max_body_bytes": knobs.max_body_bytes,
        "max_question_chars": knobs.max_question_chars,
        **({"formats": list(taken.formats), "max_pixels": taken.max_pixels} if taken else {}),
    }


async def _answered(request: Request, wanted: Ask) -> Response:
    pipeline: Pipeline = request.app.state.pipeline
    return JSONResponse(answer_body(await pipeline.ask(wanted)))


def _events(item: str | Reply) -> list[Event]:
    return [{"delta": item} if isinstance(item, str) else answer_body(item)]


routers = (asking, keyed, public)
