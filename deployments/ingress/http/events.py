"""Server-sent events: a stream of the pipeline's as the body of a response."""

import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from starlette.responses import StreamingResponse

from deployments.errors import TuwenError
from deployments.ingress.asking import Reply
from deployments.ingress.http.responses import error_body

logger = logging.getLogger("ray.serve")

Event = dict[str, Any]
DONE = "data: [DONE]\n\n"


async def event_stream(
    items: AsyncGenerator[str | Reply], request_id: str, events_of: Callable[[str | Reply], Iterable[Event]]
) -> StreamingResponse:
    """The stream as ``text/event-stream``, each item as the events that ``events_of`` makes of it, ``[DONE]`` last.

    What goes wrong before the first item is raised here, and becomes a response with a status of its own; afterwards it
    is an event named ``error``. A client that goes away closes ``items``.
    """
    first = await anext(items)

    async def body() -> AsyncGenerator[str]:
        async with aclosing(items):
            try:
                for event in events_of(first):
                    yield _written(event)
                async for item in items:
                    for event in events_of(item):
                        yield _written(event)
            except TuwenError as error:
                yield "event: error\n" + _written(error_body(request_id, error))
            except Exception as fault:
                logger.error("request %s failed", request_id, exc_info=fault)
                ours = TuwenError("something went wrong on our side; the request id is in our log")
                yield "event: error\n" + _written(error_body(request_id, ours))
            else:
                yield DONE

    # Proxies between us and the client would collect events otherwise.
    return StreamingResponse(body(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _written(event: Event) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
