"""The model as a Serve deployment: a fraction of a GPU, or a CPU."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ray import serve

from deployments.contract import Answer, ModelInfo, Pixels, Place, Question
from deployments.errors import EmptyAnswer, TuwenError, Unavailable
from deployments.knobs import LiveKnobs
from deployments.model.settings import ModelKnobs, ModelSettings

if TYPE_CHECKING:
    from deployments.model.engine import Generation
    from deployments.model.gate import Let

logger = logging.getLogger("ray.serve")


class Model:
    """One replica: one loaded checkpoint, one engine."""

    def __init__(self, settings: ModelSettings) -> None:
        # Imported here, so that building the graph, which imports this module, does not wait for torch.
        from deployments.model.gate import Gate
        from deployments.model.vision_model import VisionModel

        # Ray sets OMP_NUM_THREADS from the ticket's num_cpus, which is a share and no thread count.
        settings = settings.model_copy(update={"threads": settings.threads or os.cpu_count() or 1})
        self._knobs = LiveKnobs("Model", ModelKnobs)
        self._model = VisionModel.load(settings, self._knobs.present)
        self._model.warm_up()
        rows = settings.rows.rows if settings.engine == "rows" else 1
        self._gate = Gate(self._model.engine, rows, serve.get_replica_context().replica_tag)
        logger.info(self._model.banner())

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Swap the knobs; requests already queued keep theirs."""
        self._knobs.take(user_config)
        knobs = self._model.knobs = self._knobs.present
        self._gate.rules = knobs.rules

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
        return replace(
            self._model.info(), level=self._gate.level, rejected=self._knobs.rejected, load=self._gate.load()
        )

    def load(self) -> tuple[int, int]:
        """(running, waiting) requests of this replica's engine."""
        return self._model.engine.load()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """For ``deployments.scaling``: what is asked of this replica, and what it could answer, both a second."""
        return self._gate.stats()

    def check_health(self) -> None:
        self._model.engine.check()

    def __del__(self) -> None:
        if hasattr(self, "_model"):
            self._model.close()

    async def _answer(self, pictures: tuple[Pixels, ...], places: tuple[Place, ...], question: Question) -> Answer:
        self._check_view(question)
        knobs = self._model.knobs  # one read: they may be swapped
        with self._gate.let_in(question) as let:
            future = self._submitted(pictures, places, question, knobs, let)
            return self._told(await asyncio.wrap_future(future), knobs)

    def _submitted(
        self,
        pictures: tuple[Pixels, ...],
        places: tuple[Place, ...],
        question: Question,
        knobs: ModelKnobs,
        let: "Let",
        on_tokens: Callable[[tuple[int, ...]], None] | None = None,
    ) -> "Future[Generation]":
        return self._model.submit(
            pictures, question.text, question.max_new_tokens, deadline=question.deadline, places=places,
            on_tokens=on_tokens, knobs=knobs, turns=question.turns, let=let,
        )  # fmt: skip

    async def _streamed(
        self, pictures: tuple[Pixels, ...], places: tuple[Place, ...], question: Question
    ) -> AsyncGenerator[str | Answer]:
        loop, arrived = asyncio.get_running_loop(), asyncio.Queue[tuple[int, ...] | None]()

        def tell(ids: tuple[int, ...] | None) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, ids)

        self._check_view(question)
        knobs = self._model.knobs
        with self._gate.let_in(question) as let:
            future = self._submitted(pictures, places, question, knobs, let, tell)
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
        self._gate.answered(generation)
        text = self._model.answer(generation, knobs)
        if not text:
            raise EmptyAnswer("the model produced no answer text: ask differently, or allow more max_new_tokens")
        return Answer(
            text=text,
            level=generation.level,
            finish_reason=generation.finish_reason,
            usage=generation.usage,
            queue_ms=generation.queue_ms,
            generate_ms=generation.generate_ms,
            gpu_memory_mb=self._model.gpu_memory_mb(),
            load=self._gate.load(),
            serving=self._model.serving(knobs),
        )
