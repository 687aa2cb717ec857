"""The bot in a process of its own, that can be killed: the real ingress application over a model that is saturated.

``python -m benchmarks.wecom_process PORT SECTION STORE_URL ANSWERS_A_SECOND``; SECTION is ``args.wecom`` as JSON.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import uvicorn

from deployments.contract import (
    OVERVIEW,
    Answer,
    Level,
    Load,
    ModelInfo,
    Prepared,
    PreprocessInfo,
    Question,
    Usage,
    View,
)
from deployments.errors import Overloaded
from deployments.ingress.download.fetch import Fetcher
from deployments.ingress.http.app import create_app
from deployments.ingress.pipeline import Pipeline
from deployments.ingress.records import MemoryRecords
from deployments.store.settings import StoreSettings
from deployments.wecom.routes import routers
from deployments.wecom.service import wecom_service
from deployments.wecom.settings import WecomSettings

QUEUED = 48
"""Requests that wait; those beyond are refused, as the model does that predicts their wait."""
ROWS = 8


class SaturatedModel:
    """Answers with the question, at a bounded rate; refuses what would wait too long."""

    def __init__(self, answers_a_second: float) -> None:
        self._takes_s = ROWS / answers_a_second
        self._rows, self._inside = asyncio.Semaphore(ROWS), 0

    async def answer(self, prepared: Prepared, question: Question) -> Answer:
        if self._inside >= ROWS + QUEUED:
            raise Overloaded("full", 1.0)
        self._inside += 1
        try:
            async with self._rows:
                await asyncio.sleep(self._takes_s)
        finally:
            self._inside -= 1
        load = Load(ROWS, self._inside, Level.FULL)
        usage = Usage(20, 16, 4)
        return Answer(answer_to(question.text), Level.FULL, "stop", usage, 1.0, 7.0, 0, load, "benchmark")

    async def stream(self, prepared: Prepared, question: Question) -> AsyncGenerator[str | Answer]:
        yield await self.answer(prepared, question)

    async def answers(self, replica: str) -> bool:
        return True

    async def info(self) -> ModelInfo:
        return ModelInfo("benchmark", "cpu", "float32", "none", 1, "none", Level.FULL, "benchmark", 9000, 4, 8)


class PassingPreprocessor:
    """Takes every picture as it is: decoding is measured elsewhere."""

    async def prepare(
        self, data: bytes, level: Level, deadline: float, most_tokens: int | None, view: View
    ) -> Prepared:
        digest = sha256(data).hexdigest()
        return Prepared((), digest, ((112, 112),), (OVERVIEW,), ((0, 0, 9, 9),), (9, 9), "PNG", (9, 9), 1.0)

    async def info(self) -> PreprocessInfo:
        return PreprocessInfo(("JPEG", "PNG"), 1_000_000, 324, 5)


def answer_to(question: str) -> str:
    """What the benchmark's model says to a question."""
    return f"答：{question}"


async def serve(port: int, section: str, store_url: str, rate: float) -> None:
    pipeline = Pipeline(PassingPreprocessor(), SaturatedModel(rate), Fetcher(), MemoryRecords(1000), "benchmark")
    settings = WecomSettings.model_validate_json(section)
    service = wecom_service(settings, StoreSettings(url=store_url), Path.cwd(), pipeline, Fetcher())
    service.start()
    config = uvicorn.Config(create_app(pipeline, None, routers(service)), "127.0.0.1", port, log_level="error")
    try:
        await uvicorn.Server(config).serve()
    finally:
        await service.stop()


@dataclass
class ServiceProcess:
    """One replica, from its start to its end; ``kill`` is SIGKILL."""

    port: int
    section: str
    store_url: str
    rate: float
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = [str(self.port), self.section, self.store_url, str(self.rate)]
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks.wecom_process", *arguments])

    def wait(self, most_s: float = 60.0) -> None:
        """Returns when it answers."""
        give_up, opener = time.monotonic() + most_s, build_opener(ProxyHandler({}))
        while True:
            try:
                opener.open(f"{self.url}/wecom/status", timeout=5).close()
                return
            except OSError:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def status(self) -> dict[str, dict[str, dict[str, int]]]:
        with build_opener(ProxyHandler({})).open(f"{self.url}/wecom/status", timeout=30) as response:
            found: dict[str, dict[str, dict[str, int]]] = json.load(response)
        return found

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])))
