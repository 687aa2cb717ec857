"""``/v1/chat/completions`` with a picture by address or data URI, and ``/v1/models``.

What is said before the question, by whichever role, goes to the model in its own template's roles. What cannot be done
is refused, never dropped in silence.
"""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from deployments.errors import NotFound
from deployments.ingress.asking import Ask
from deployments.ingress.http.content import demand_json
from deployments.ingress.http.events import event_stream
from deployments.ingress.http.methods import answer_head
from deployments.ingress.http.openai.chat import ChatRequest, read_chat
from deployments.ingress.http.openai.replies import Chunks, completion
from deployments.ingress.http.openai.schema import CHAT_REQUEST
from deployments.ingress.http.openapi import ASKING, EVENTS, KEYED, Responses, failures
from deployments.ingress.http.routes import AskRoute, KeyedRoute
from deployments.ingress.models import Models
from deployments.ingress.pipeline import Pipeline

asking = APIRouter(route_class=AskRoute)
keyed = APIRouter(route_class=KeyedRoute)
routers = (asking, keyed)

COMPLETION: Responses = {200: {"description": "OpenAI's chat completion; its chunks with `stream`", "content": EVENTS}}
CHAT_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": CHAT_REQUEST}}}}


@asking.post(
    "/v1/chat/completions", openapi_extra=CHAT_BODY, responses=COMPLETION | failures(*KEYED, *ASKING, NotFound)
)
async def chat_completions(request: Request) -> Response:
    """OpenAI's chat completion about one picture. Overload is error 429, as its clients expect."""
    served: Models = request.app.state.models
    demand_json(request)
    # The event loop has its turns between the steps of this, none of which takes long.
    body = b"".join([chunk async for chunk in request.stream()])
    chat = await run_in_threadpool(read_chat, body, served, served.first.knobs.max_body_bytes)
    del body
    pipeline = served.of(chat.model)
    asked = _ask(request, chat)
    if chat.stream:
        chunks = Chunks(asked.request_id, pipeline.model_name, chat.include_usage)
        return await event_stream(pipeline.stream(asked), asked.request_id, chunks.of)
    return JSONResponse(completion(await pipeline.ask(asked)))


@keyed.get("/v1/models", responses=failures(*KEYED))
async def models(request: Request) -> Response:
    """The served models, as OpenAI lists them."""
    return JSONResponse({"object": "list", "data": [_entry(pipeline) for pipeline in request.app.state.models]})


@keyed.get("/v1/models/{name:path}", responses=failures(*KEYED, NotFound))
async def model(request: Request, name: str) -> Response:
    """One model, by its name, slashes included."""
    served: Models = request.app.state.models
    return JSONResponse(_entry(served.of(name)))


def _ask(request: Request, chat: ChatRequest) -> Ask:
    said = chat.conversation
    return Ask(
        request.state.request_id,
        request.state.arrived,
        chat.image,
        said.text,
        chat.max_new_tokens,
        on_overload="error",
        tenant=request.state.tenant,
        turns=said.turns,
        user=chat.user,
    )


def _entry(pipeline: Pipeline) -> dict[str, Any]:
    return {"id": pipeline.model_name, "object": "model", "created": 0, "owned_by": "tuwen"}


answer_head(keyed)
