"""The seed design: one FastAPI process that answers one request at a time with ``generate``.

All that uses torch runs in one thread, which is the lock too: with several, libgomp keeps a team of threads for each.
"""

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Form, UploadFile

from benchmarks.peers.generating import Generator, options


def app(asked: Namespace) -> FastAPI:
    """Healthy once the model is loaded: uvicorn listens after that."""
    thread = ThreadPoolExecutor(1)
    loading = thread.submit(Generator, asked.checkpoint, asked.dtype, asked.threads, asked.beams)

    @asynccontextmanager
    async def loaded(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.wrap_future(loading)
        yield

    api = FastAPI(lifespan=loaded)

    @api.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    def answer(data: bytes, question: str) -> str:
        generator = loading.result()
        return generator.answers([generator.inputs(data, question)])[0]

    @api.post("/v1/ask")
    async def ask(image: UploadFile, question: Annotated[str, Form()]) -> dict[str, str]:
        loop = asyncio.get_running_loop()
        return {"answer": await loop.run_in_executor(thread, answer, await image.read(), question)}

    return api


if __name__ == "__main__":
    asked = options()
    uvicorn.run(app(asked), host="127.0.0.1", port=asked.port, log_level="warning")
