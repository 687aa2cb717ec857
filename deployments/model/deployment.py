"""The model as a Serve deployment: a fraction of a GPU, or a CPU."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deployments.contract import Answer, Level, Load, ModelInfo, Pixels, Place, Question
from deployments.errors import EmptyAnswer, TuwenError, Unavailable
from deployments.knobs import LiveKnobs
from deployments.model.settings import ModelKnobs, ModelSettings

if TYPE_CHECKING:
    from deployments.model.engine import Generation

logger = logging.getLogger("ray.serve")


class Model:
    """One replica: one loaded checkpoint, one engine."""

    def __init__(self, settings: ModelSettings) -> None:
        # Imported here, so that building the graph, which imports this module, does not wait for torch.
        from deployments.model.vision_model import VisionModel

        # Ray sets OMP_NUM_THREADS from the ticket's num_cpus, which is a share and no thread count.
        settings = settings.model_copy(update={"threads": settings.threads or os.cpu_count() or 1})
        self._knobs = LiveKnobs("Model", ModelKnobs)
        self._model = VisionModel.load(settings, self._knobs.present)
        self._model.warm_up()
        logger.info(self._model.banner())

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Swap the knobs; requests already queued keep theirs."""
        self._knobs.take(user_config)
        self._model.knobs = self._knobs.present

    async def answer(
        self, pictures: tuple[Pixels, ...], places: tuple[Place, ...], question: Question
    ) -> Answer | TuwenError:
        """Answer about a prepared picture; a request's own fault, and a missed deadline, come back as values."""
        try:
            return await self._answer(pictures, places, question)
        except TuwenError as error:
            return error

    async def stream(
        self, pictures: tuple[Pixels, ...], places: tuple[Place, ...], question: Question
    ) -> AsyncGenerator[str | Answer | TuwenError]:
        """The answer's text as it comes, then the whole answer, or the error as ``answer`` gives it."""
        try:
            async for item in self._streamed(pictures, places, question):
                yield item
        except TuwenError as error:
            yield error

    def info(self) -> ModelInfo:
        return replace(self._model.info(), rejected=self._knobs.rejected)

    def load(self) -> tuple[int, int]:
        """(running, waiting) requests of this replica's engine."""
        return self._model.engine.load()

    def check_health(self) -> None:
        self._model.engine.check()

    def __del__(self) -> None:
        if hasattr(self, "_model"):
            self._model.close()

    async def _answer(self, pictures: tuple[Pixels, ...], places: tuple[Place, ...], question: Question) -> Answer:
        self._check_view(question)
        knobs = self._model.knobs  # one read: they may be swapped
        future = self._model.submit(
            pictures, question.text, question.max_new_tokens, deadline=question.deadline, places=places, knobs=knobs,
            turns=question.turns,
        )  # fmt: skip
        return self._told(await asyncio.wrap_future(future), knobs)

    async def _streamed(
        self, pictures: tuple[Pixels, ...], places: tuple[Place, ...], question: Question
    ) -> AsyncGenerator[str | Answer]:
        loop, arrived = asyncio.get_running_loop(), asyncio.Queue[tuple[int, ...] | None]()

        def tell(ids: tuple[int, ...] | None) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, ids)

        self._check_view(question)
        knobs = self._model.knobs
        future = self._model.submit(
            pictures, question.text, question.max_new_tokens, deadline=question.deadline, places=places,
            on_tokens=tell, knobs=knobs, turns=question.turns,
        )  # fmt: skip
        future.add_done_callback(lambda _: tell(None))
        text = self._model.text_stream(knobs)
        try:
            while (ids := await arrived.get()) is not None:
                if new := text.push(ids):
                    yield new
            answer = self._told(future.result(), knobs)
            if rest := text.finish(answer.text):
                yield rest
            yield answer
        finally:
            future.cancel()  # whoever listened has gone: the engine need not go on

    def _check_view(self, question: Question) -> None:
        """Raises Unavailable for a picture that was prepared for the model that was here before."""
        if question.view != self._model.loaded.layout.view:
            raise Unavailable("the picture was prepared for another model than serves now: ask again")

    def _told(self, generation: "Generation", knobs: ModelKnobs) -> Answer:
        text = self._model.answer(generation, knobs)
        if not text:
            raise EmptyAnswer("the model produced no answer text: ask differently, or allow more max_new_tokens")
        running, waiting = self._model.engine.load()
        return Answer(
            text=text,
            level=generation.level,
            finish_reason=generation.finish_reason,
            usage=generation.usage,
            queue_ms=generation.queue_ms,
            generate_ms=generation.generate_ms,
            gpu_memory_mb=self._model.gpu_memory_mb(),
            load=Load(running, waiting, Level(self._model.knobs.level)),
            serving=self._model.serving(knobs),
        )
