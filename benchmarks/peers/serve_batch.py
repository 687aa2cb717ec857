"""Plain Ray Serve: one deployment that speaks HTTP and generates in batches of ``@serve.batch``.

As in the seed design, all that uses torch runs in one thread.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, UploadFile
from ray import serve

from benchmarks.peers.generating import BATCH, BATCH_WAIT_S, Generator, Inputs, options

api = FastAPI()


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 1})
@serve.ingress(api)
class Batched:
    def __init__(self, checkpoint: Path, dtype: str, threads: int) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.generator = self.thread.submit(Generator, checkpoint, dtype, threads).result()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=BATCH_WAIT_S)  # type: ignore[untyped-decorator]
    async def answers(self, batch: list[Inputs]) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self.thread, self.generator.answers, batch)

    @api.post("/v1/ask")
    async def ask(self, image: UploadFile, question: Annotated[str, Form()]) -> dict[str, str]:
        inputs = self.generator.inputs(await image.read(), question)
        return {"answer": await self.answers(inputs)}

    @api.get("/health")
    async def health(self) -> dict[str, str]:
        return {"status": "ok"}


if __name__ == "__main__":
    asked = options()
    serve.start(http_options={"host": "127.0.0.1", "port": asked.port})
    deployment: Any = Batched
    serve.run(deployment.bind(asked.checkpoint, asked.dtype, asked.threads), blocking=True)
