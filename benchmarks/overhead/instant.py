"""The real application with an engine that answers at once: a config's ``import_path`` names ``build`` here."""

from collections.abc import AsyncGenerator
from typing import Any

from ray import serve

from deployments.contract import Answer, Level, Load, ModelInfo, Pixels, Place, Question, Usage
from deployments.errors import TuwenError
from deployments.model import deployment
from deployments.model.settings import ModelSettings
from serve_app import graph
from serve_app.settings import AppSettings

TEXT = "YD81078618558"
ANSWER = Answer(
    text=TEXT,
    level=Level.FAST,
    finish_reason="stop",
    usage=Usage(prompt_tokens=140, image_tokens=120, completion_tokens=len(TEXT)),
    queue_ms=0.0,
    generate_ms=0.0,
    gpu_memory_mb=0,
    load=Load(running=0, waiting=0, level=Level.FAST),
    serving="instant",
)
INFO = ModelInfo(
    name="instant", device="cpu", dtype="float32", quantization="none", parameters=0, engine="instant",
    level=Level.FAST, serving="instant", prompt_tokens=1800, tokens_per_char=4, part_tokens=16,
)  # fmt: skip


class Model(deployment.Model):
    """Takes in the pixels as the real one does, and answers without looking at them."""

    def __init__(self, settings: ModelSettings) -> None:
        pass

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        pass

    async def answer(self, pictures: tuple[Pixels, ...], places: tuple[Place, ...], question: Question) -> Answer:
        return ANSWER

    async def stream(
        self, pictures: tuple[Pixels, ...], places: tuple[Place, ...], question: Question
    ) -> AsyncGenerator[str | Answer | TuwenError]:
        yield ANSWER

    def info(self) -> ModelInfo:
        return INFO

    def load(self) -> tuple[int, int]:
        return 0, 0

    def check_health(self) -> None:
        pass


def build(settings: AppSettings) -> serve.Application:
    """The shipped graph; only its Model is another one."""
    deployment.Model = Model  # type: ignore[misc]  # the graph's builder imports it from there
    return graph.build(settings)
