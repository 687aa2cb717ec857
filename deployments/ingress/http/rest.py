"""The REST surface: ``/v1/ask``, ``/chat``, ``/v1/requests/{id}``, ``/healthz``."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from deployments.errors import (
    ImageMissing,
    NotFound,
    RequestError,
    TuwenError,
    UnsupportedMediaType,
)
from deployments.ingress.http.events import Event, event_stream
from deployments.ingress.pipeline import Ask, OnOverload, Pipeline, Reply
from deployments.preprocess.settings import FORMATS

router = APIRouter()


def answer_body(reply: Reply) -> dict[str, Any]:
    """The reply as the contract's JSON; ``retry_after_s`` only where there is one."""
    body = asdict(reply)
    if body["retry_after_s"] is None:
        del body["retry_after_s"]
    return body


def unix_lines(text: str) -> str:
    """Browsers send every line break of a form field as CRLF; the same question must not differ by its sender."""
    return text.replace("\r\n", "\n")


async def picture(image: UploadFile | None, image_url: str | None = None) -> bytes | str:
    """The file's bytes, or the URL where it is to be fetched."""
    if image is not None and image_url is not None:
        raise RequestError("send the picture in `image` or its address in `image_url`, not both")
    if image_url is not None:
        return image_url
    if image is None:
        raise ImageMissing(
            "there is no picture: send one in the multipart field `image`, or its address in `image_url`"
        )
    return await image.read()


def demand_form(request: Request) -> None:
    """Say so when a form is posted as something else; FastAPI would only call its fields missing."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedMediaType(f"send multipart/form-data (got {kind or 'no content type'})")


@router.post("/v1/ask", response_model=Reply, dependencies=[Depends(demand_form)])
async def ask(
    request: Request,
    image: Annotated[UploadFile | None, File(description="the picture")] = None,
    image_url: Annotated[str | None, Form(description="or its address, http or https")] = None,
    question: Annotated[str, Form(description="what to say about it")] = "",
    max_new_tokens: Annotated[int | None, Form(ge=1, description="longest answer, in tokens")] = None,
    stream: Annotated[bool, Form(description="the answer as it comes, as server-sent events")] = False,
    on_overload: Annotated[OnOverload, Form(description="holding reply, or error 429")] = "answer",
) -> Response:
    """Answer a question about a picture.

    With `stream`, events `{"delta": text}` as the answer comes, then the whole reply, then `[DONE]`.
    """
    asked = Ask(
        request.state.request_id,
        await picture(image, image_url),
        unix_lines(question),
        max_new_tokens,
        on_overload,
        request.state.tenant,
    )
    if stream:
        pipeline: Pipeline = request.app.state.pipeline
        return await event_stream(pipeline.stream(asked), asked.request_id, _events)
    return await _answered(request, asked)


@router.post("/chat", response_model=Reply, dependencies=[Depends(demand_form)])
async def chat(
    request: Request,
    image: Annotated[UploadFile | None, File(description="the picture")] = None,
    text: Annotated[str, Form(description="the customer's words")] = "",
) -> Response:
    """The customer-service form of ``/v1/ask``."""
    asked = Ask(request.state.request_id, await picture(image), unix_lines(text), tenant=request.state.tenant)
    return await _answered(request, asked)


@router.get("/v1/requests/{request_id}")
async def record(request: Request, request_id: str) -> Response:
    """How a past request went; never its picture or words."""
    pipeline: Pipeline = request.app.state.pipeline
    found = await pipeline.records.get(request_id)
    if found is None:
        raise NotFound(f"no request {request_id} is remembered: only the newest are")
    return JSONResponse(asdict(found))


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """Readiness, and what serves; 503 until the model answers."""
    pipeline: Pipeline = request.app.state.pipeline
    try:
        info = await pipeline.watch.info()
    except TuwenError as fault:
        return JSONResponse({"ready": False, "reason": str(fault), "limits": _limits(pipeline)}, status_code=503)
    return JSONResponse(
        {
            "ready": True,
            "model": info.name,
            "device": info.device,
            "dtype": info.dtype,
            "quantization": info.quantization,
            "parameters": info.parameters,
            "engine": info.engine,
            "level": info.level,
            "safety": list(pipeline.safety),
            "cache": "none" if pipeline.cache is None else pipeline.cache.name,
            "cache_status": "ok" if pipeline.cache is None else pipeline.cache.status(),
            "limits": _limits(pipeline),
        }
    )


def _limits(pipeline: Pipeline) -> Mapping[str, Any]:
    """What the page checks before it uploads."""
    knobs = pipeline.knobs
    return {
        "max_body_bytes": knobs.max_body_bytes,
        "max_question_chars": knobs.max_question_chars,
        "formats": list(FORMATS),
    }


async def _answered(request: Request, asked: Ask) -> Response:
    pipeline: Pipeline = request.app.state.pipeline
    return JSONResponse(answer_body(await pipeline.ask(asked)))


def _events(item: str | Reply) -> list[Event]:
    return [{"delta": item} if isinstance(item, str) else answer_body(item)]
