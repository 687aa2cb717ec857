"""The REST surface: ``/v1/ask``, ``/chat``, ``/v1/requests/{id}``, and what monitoring asks first."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib import metadata
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from deployments.contract import ModelInfo
from deployments.errors import ImageMissing, NotFound, RequestError, TuwenError
from deployments.ingress.asking import Ask, OnOverload, Reply
from deployments.ingress.http.complaints import told
from deployments.ingress.http.events import Event, event_stream
from deployments.ingress.http.forms import read_form
from deployments.ingress.http.methods import answer_head
from deployments.ingress.http.openapi import ASKING, EVENTS, KEYED, PUBLIC, VISIBLE, Responses, failures, form
from deployments.ingress.http.routes import AskRoute, KeyedRoute, PublicRoute
from deployments.ingress.models import Models
from deployments.ingress.pipeline import Pipeline
from deployments.ingress.uploads import Upload
from deployments.texts import quoted

asking = APIRouter(route_class=AskRoute)
keyed = APIRouter(route_class=KeyedRoute)
public = APIRouter(route_class=PublicRoute)
routers = (asking, keyed, public)

REPLY: Responses = {200: {"description": "the reply; with `stream`, events", "content": EVENTS}}
NOT_READY: Responses = {503: {"description": "not ready, and why"}}
WORDS: JsonDict = {"pattern": VISIBLE}


class AskForm(BaseModel):
    """The texts of ``/v1/ask``'s form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_url: str | None = Field(
        None, description="or its address, http or https", json_schema_extra={"pattern": "^https?://[^/?#]"}
    )
    question: str = Field("", description="what to say about it", json_schema_extra=WORDS)
    max_new_tokens: int | None = Field(None, ge=1, description="longest answer, in tokens")
    stream: bool = Field(False, description="the answer as it comes, as server-sent events")
    on_overload: OnOverload = Field("answer", description="holding reply, or error 429")
    timeout_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="how long you wait; an answer that would take longer is not begun"
    )
    user: str = Field(
        "", max_length=64, description="who asks, where many share one key: none is served at the others' cost"
    )
    priority: Literal["chat", "batch"] = Field("chat", description="batch: nobody waits for it, others come first")
    model: str | None = Field(None, description="which of the served models, by its name; the first if it is left out")


class ChatForm(BaseModel):
    """The texts of the customer-service form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field("", description="the customer's words", json_schema_extra=WORDS)


F = TypeVar("F", bound=BaseModel)


def answer_body(reply: Reply) -> dict[str, Any]:
    """The reply as the contract's JSON; ``retry_after_s`` only where there is one."""
    body = asdict(reply)
    if body["retry_after_s"] is None:
        del body["retry_after_s"]
    return body


async def asked(request: Request, model: type[F]) -> tuple[F, Upload | None]:
    """The form's texts, checked, and its picture if there is one. Raises RequestError."""
    sent = await read_form(request, frozenset(model.model_fields), frozenset(("image",)))
    image = sent.files.get("image")
    try:
        return model.model_validate(sent.texts), image
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


@asking.post(
    "/v1/ask",
    response_model=Reply,
    responses=REPLY | failures(*KEYED, *ASKING, NotFound),
    openapi_extra=form(AskForm, "question"),
)
async def ask(request: Request) -> Response:
    """Answer a question about a picture.

    With `stream`, events `{"delta": text}` as the answer comes, then the whole reply, then `[DONE]`.
    """
    fields, image = await asked(request, AskForm)
    wanted = Ask(
        request.state.request_id,
        request.state.arrived,
        picture(image, fields.image_url),
        fields.question,
        fields.max_new_tokens,
        fields.on_overload,
        request.state.tenant,
        timeout_s=fields.timeout_s,
        user=fields.user,
        batch=fields.priority == "batch",
    )
    pipeline = _chosen(request, fields.model or None, image)  # a form sends a field that was left empty
    if fields.stream:
        return await event_stream(pipeline.stream(wanted), wanted.request_id, _events)
    return JSONResponse(answer_body(await pipeline.ask(wanted)))


@asking.post("/chat", response_model=Reply, responses=failures(*KEYED, *ASKING), openapi_extra=form(ChatForm, "text"))
async def chat(request: Request) -> Response:
    """The customer-service form of ``/v1/ask``."""
    fields, image = await asked(request, ChatForm)
    state = request.state
    wanted = Ask(state.request_id, state.arrived, picture(image), fields.text, tenant=state.tenant)
    pipeline: Pipeline = request.app.state.pipeline
    return JSONResponse(answer_body(await pipeline.ask(wanted)))


@keyed.get("/v1/requests/{request_id}", responses=failures(*KEYED, NotFound))
async def record(request: Request, request_id: str) -> Response:
    """How a past request went; never its picture or words."""
    pipeline: Pipeline = request.app.state.pipeline
    found = await pipeline.records.get(request.state.tenant, request_id)
    if found is None:
        raise NotFound(f"no request {quoted(request_id)} is remembered: only the newest are")
    shown = asdict(found)
    del shown["tenant"]
    return JSONResponse(shown)


@public.get("/healthz", responses=failures(*PUBLIC) | NOT_READY)
async def healthz(request: Request) -> Response:
    """Readiness, and what serves; 503 until the model answers. `rejected` says which knobs were refused."""
    pipeline: Pipeline = request.app.state.pipeline
    try:
        info, taken = await pipeline.watch.info(), await pipeline.preprocessor_watch.info()
        others = [await other.watch.info() for other in request.app.state.models if other is not pipeline]
    except TuwenError as fault:
        return JSONResponse({"ready": False, "reason": str(fault), "limits": await _limits(pipeline)}, status_code=503)
    rejected = [*pipeline.rejected, *taken.rejected, *info.rejected, *(r for one in others for r in one.rejected)]
    return JSONResponse(
        {
            "ready": True,
            **_described(info),
            "level": pipeline.watch.level,
            "safety": list(pipeline.safety),
            "cache": "none" if pipeline.cache is None else pipeline.cache.name,
            "cache_status": "ok" if pipeline.cache is None else pipeline.cache.status(),
            "limits": await _limits(pipeline),
            **({"others": [_described(one) for one in others]} if others else {}),
            **({"rejected": rejected} if rejected else {}),
        }
    )


def _described(info: ModelInfo) -> dict[str, Any]:
    """What serves under a model's name."""
    return {
        "model": info.name,
        "device": info.device,
        "dtype": info.dtype,
        "quantization": info.quantization,
        "parameters": info.parameters,
        "engine": info.engine,
    }


@public.get("/health", responses=failures(*PUBLIC) | NOT_READY)
async def health(request: Request) -> Response:
    """Ready (200) or not (503), as load testers ask before they begin; what the model said lately is good enough."""
    try:
        for pipeline in request.app.state.models:
            await pipeline.watch.recent()
    except TuwenError as fault:
        return JSONResponse({"ready": False, "reason": str(fault)}, status_code=503)
    return JSONResponse({"ready": True})


@public.get("/version", responses=failures(*PUBLIC))
async def version(request: Request) -> Response:
    """This service's version, and the served model's name."""
    pipeline: Pipeline = request.app.state.pipeline
    return JSONResponse({"version": _version(), "model": pipeline.model_name})


@cache
def _version() -> str:
    """As installed; a checkout that is run without having been installed does not know it."""
    try:
        return metadata.version("tuwen")
    except metadata.PackageNotFoundError:
        return "unknown"


async def _limits(pipeline: Pipeline) -> Mapping[str, Any]:
    """What the page checks before it uploads."""
    knobs, taken = pipeline.knobs, pipeline.preprocessor_watch.known
    return {
        "max_body_bytes": knobs.max_body_bytes,
        "max_question_chars": (await pipeline.limits()).question_chars,
        **({"formats": list(taken.formats), "max_pixels": taken.max_pixels} if taken else {}),
    }


def _chosen(request: Request, name: str | None, image: Upload | None) -> Pipeline:
    """The named model's pipeline. Raises NotFound, and lets go of the picture."""
    served: Models = request.app.state.models
    try:
        return served.of(name)
    except NotFound:
        if image is not None:
            image.close()
        raise


def _events(item: str | Reply) -> list[Event]:
    return [{"delta": item} if isinstance(item, str) else answer_body(item)]


for router in routers:
    answer_head(router)
