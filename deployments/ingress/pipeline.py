"""One request from picture and question to answer: prepare, ask the model, account for the time, keep the record."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from deployments.contract import Answer, Level, ModelInfo, Prepared, Question, Usage
from deployments.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    ImageMissing,
    Overloaded,
    QuestionEmpty,
    QuestionTooLong,
    TuwenError,
    Unavailable,
)
from deployments.ingress.records import Record, RecordStore, Timing
from deployments.ingress.settings import IngressKnobs

logger = logging.getLogger("ray.serve")

OnOverload = Literal["answer", "error"]
ATTEMPTS = 2
"""A replica that dies takes its requests with it; each is tried once more, within its deadline."""
INFO_TIMEOUT_S = 2.0
SILENCE_S = 30.0
"""A model that answered nothing for so long, and does not say what it is either, counts as away."""


class Preprocessor(Protocol):
    async def prepare(self, data: bytes) -> Prepared:
        """Raises ImageError for a bad picture, Overloaded, Unavailable."""
        ...


class Model(Protocol):
    async def answer(self, prepared: Prepared, question: Question) -> Answer:
        """Raises PixelsLost, DeadlineExceeded, EmptyAnswer, Overloaded, Unavailable."""
        ...

    async def info(self) -> ModelInfo: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """A caller's request, as every HTTP surface states it."""

    request_id: str
    image: bytes
    text: str
    max_new_tokens: int | None = None
    on_overload: OnOverload = "answer"


NO_USAGE = Usage(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the caller gets. A holding reply has no usage and says when to ask again."""

    request_id: str
    answer: str
    level: Level
    timing_ms: Timing
    model: str
    finish_reason: str | None = None
    usage: Usage = NO_USAGE
    tiles: int = 0
    gpu_memory_mb: int = 0
    cached: bool = False
    retry_after_s: float | None = None


class Pipeline:
    """Owns nothing but the way through: deployments behind protocols, the record store, and the present knobs."""

    def __init__(
        self,
        preprocessor: Preprocessor,
        model: Model,
        records: RecordStore,
        model_name: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.records, self.model_name = records, model_name
        self.knobs = IngressKnobs()
        self._info: ModelInfo | None = None
        self._model_heard = 0.0
        self._preprocessor, self._model, self._clock = preprocessor, model, clock

    async def ask(self, ask: Ask) -> Reply:
        """The answer, or under overload the holding reply. Raises TuwenError; either way the record is kept."""
        knobs, began, work = self.knobs, self._clock(), _Work()
        try:
            self._check(ask, knobs)
            await self._within_deadline(ask, began + knobs.request_timeout_s, work)
            reply = self._reply(ask, work, self._timing(began, work))
        except Overloaded as overload:
            wait_s = overload.retry_after_s or knobs.retry_after_s
            if ask.on_overload == "error":
                message = f"the service is busy: ask again in {wait_s:g} s"
                raise await self._failed(ask, Overloaded(message, wait_s), began, work) from overload
            reply = self._holding(ask, knobs, wait_s, self._timing(began, work))
        except TuwenError as error:
            raise await self._failed(ask, error, began, work) from error
        await self.records.put(_record(reply, work.prepared, began))
        return reply

    async def info(self) -> ModelInfo:
        """What the model serves with. While the model is only busy, its last word stands.

        Raises Unavailable when it has neither told nor answered anything for ``SILENCE_S``, or never has.
        """
        try:
            async with asyncio.timeout(INFO_TIMEOUT_S):
                self._info = await self._model.info()
            self._model_heard = self._clock()
        except (Overloaded, TimeoutError) as busy:
            if self._info is None or self._clock() - self._model_heard > SILENCE_S:
                raise Unavailable("the model has not answered yet: ask again") from busy
        return self._info

    async def _within_deadline(self, ask: Ask, deadline: float, work: "_Work") -> None:
        try:
            async with asyncio.timeout(deadline - self._clock()):
                await self._attempts(ask, deadline, work)
        except TimeoutError as late:
            raise DeadlineExceeded(
                f"no answer within {self.knobs.request_timeout_s:g} s: ask again, with a smaller picture if you can"
            ) from late

    async def _attempts(self, ask: Ask, deadline: float, work: "_Work") -> None:
        question = Question(ask.request_id, ask.text, ask.max_new_tokens, deadline)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                work.prepared = await self._preprocessor.prepare(ask.image)
                work.answer = await self._model.answer(work.prepared, question)
                self._model_heard = self._clock()
                return
            except Unavailable as fault:
                if attempt == ATTEMPTS:
                    raise
                logger.warning("request %s: %s; trying once more", ask.request_id, fault)

    @staticmethod
    def _check(ask: Ask, knobs: IngressKnobs) -> None:
        if not ask.image:
            raise ImageMissing("there is no picture: send one in the field `image`")
        if len(ask.image) > knobs.max_body_bytes:
            raise BodyTooLarge(f"the picture has {len(ask.image)} bytes, more than the {knobs.max_body_bytes} allowed")
        if not ask.text.strip():
            raise QuestionEmpty("the question is empty: say what you want to know about the picture")
        if len(ask.text) > knobs.max_question_chars:
            raise QuestionTooLong(
                f"the question has {len(ask.text)} characters, more than the {knobs.max_question_chars} allowed"
            )

    def _timing(self, began: float, work: "_Work") -> Timing:
        total = round((self._clock() - began) * 1e3)
        preprocess = round(work.prepared.preprocess_ms) if work.prepared else 0
        generate = round(work.answer.generate_ms) if work.answer else 0
        return Timing(0, preprocess, max(0, total - preprocess - generate), generate, total)

    def _reply(self, ask: Ask, work: "_Work", timing: Timing) -> Reply:
        answer, prepared = work.answer, work.prepared
        assert answer is not None, "_attempts returns only with an answer"
        assert prepared is not None, "and an answer needs a prepared picture"
        return Reply(
            request_id=ask.request_id,
            answer=answer.text,
            level=answer.level,
            timing_ms=timing,
            model=self.model_name,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            tiles=len(prepared.sizes),
            gpu_memory_mb=answer.gpu_memory_mb,
        )

    def _holding(self, ask: Ask, knobs: IngressKnobs, wait_s: float, timing: Timing) -> Reply:
        return Reply(ask.request_id, knobs.holding_text, Level.HOLDING, timing, self.model_name, retry_after_s=wait_s)

    async def _failed(self, ask: Ask, error: TuwenError, began: float, work: "_Work") -> TuwenError:
        timing = self._timing(began, work)
        await self.records.put(Record(ask.request_id, began, error.status, self.model_name, timing, error=error.code))
        return error


@dataclass(slots=True)
class _Work:
    """What has been got so far; the timing of a failure tells how far it came."""

    prepared: Prepared | None = None
    answer: Answer | None = None


def _record(reply: Reply, prepared: Prepared | None, began: float) -> Record:
    return Record(
        request_id=reply.request_id,
        created=began,
        status=200,
        model=reply.model,
        timing_ms=reply.timing_ms,
        level=reply.level,
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        tiles=reply.tiles,
        source_format=prepared.source_format if prepared else None,
        source_size=prepared.source_size if prepared else None,
    )
