"""One request from picture and question to answer: prepare, ask the model, account for the time, keep the record."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
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

    def stream(self, prepared: Prepared, question: Question) -> AsyncGenerator[str | Answer]:
        """The answer's text as it comes, then the answer; raises what ``answer`` raises."""
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
        knobs, work = self.knobs, _Work(self._clock())
        try:
            self._check(ask, knobs)
            await self._within_deadline(ask, work.began + knobs.request_timeout_s, work)
        except TuwenError as error:
            return await self._refused(ask, error, knobs, work)
        return await self._answered(ask, work)

    async def stream(self, ask: Ask) -> AsyncGenerator[str | Reply]:
        """The answer's text as it comes, then the whole reply; else as ``ask``."""
        knobs, work = self.knobs, _Work(self._clock())
        try:
            self._check(ask, knobs)
            async with aclosing(self._streamed(ask, work.began + knobs.request_timeout_s, work)) as texts:
                async for text in texts:
                    yield text
        except TuwenError as error:
            yield await self._refused(ask, error, knobs, work)
            return
        yield await self._answered(ask, work)

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
        question = Question(ask.request_id, ask.text, ask.max_new_tokens, deadline)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._time_left(deadline):
                    work.prepared = await self._preprocessor.prepare(ask.image)
                    work.answer = await self._model.answer(work.prepared, question)
                self._model_heard = self._clock()
                return
            except Unavailable as fault:
                self._try_again(ask, fault, attempt)

    async def _streamed(self, ask: Ask, deadline: float, work: "_Work") -> AsyncGenerator[str]:
        """Texts until ``work`` has the answer. Once something has been said, nothing is tried again."""
        question, said = Question(ask.request_id, ask.text, ask.max_new_tokens, deadline), False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._time_left(deadline):
                    work.prepared = await self._preprocessor.prepare(ask.image)
                async with aclosing(self._model.stream(work.prepared, question)) as items:
                    while work.answer is None:
                        async with self._time_left(deadline):
                            item = await anext(items)
                        self._model_heard = self._clock()
                        if isinstance(item, Answer):
                            work.answer = item
                        else:
                            said = True
                            yield item
                return
            except Unavailable as fault:
                self._try_again(ask, fault, ATTEMPTS if said else attempt)

    @asynccontextmanager
    async def _time_left(self, deadline: float) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(deadline - self._clock()):
                yield
        except TimeoutError as late:
            raise DeadlineExceeded(
                f"no answer within {self.knobs.request_timeout_s:g} s: ask again, with a smaller picture if you can"
            ) from late

    @staticmethod
    def _try_again(ask: Ask, fault: Unavailable, attempt: int) -> None:
        """Raises the fault when it was the last attempt."""
        if attempt == ATTEMPTS:
            raise fault
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

    def _timing(self, work: "_Work") -> Timing:
        total = round((self._clock() - work.began) * 1e3)
        preprocess = round(work.prepared.preprocess_ms) if work.prepared else 0
        generate = round(work.answer.generate_ms) if work.answer else 0
        return Timing(0, preprocess, max(0, total - preprocess - generate), generate, total)

    async def _answered(self, ask: Ask, work: "_Work") -> Reply:
        reply = self._reply(ask, work)
        await self.records.put(_record(reply, work))
        return reply

    async def _refused(self, ask: Ask, error: TuwenError, knobs: IngressKnobs, work: "_Work") -> Reply:
        """The holding reply for an overload, unless its caller wants an error. Raises any other error."""
        if isinstance(error, Overloaded):
            wait_s = error.retry_after_s or knobs.retry_after_s
            if ask.on_overload == "answer":
                reply = self._holding(ask, knobs, wait_s, self._timing(work))
                await self.records.put(_record(reply, work))
                return reply
            error = Overloaded(f"the service is busy: ask again in {wait_s:g} s", wait_s)
        timing = self._timing(work)
        failed = Record(ask.request_id, work.began, error.status, self.model_name, timing, error=error.code)
        await self.records.put(failed)
        raise error

    def _reply(self, ask: Ask, work: "_Work") -> Reply:
        answer, prepared = work.answer, work.prepared
        assert answer is not None, "whoever asks the model comes back with an answer"
        assert prepared is not None, "and an answer needs a prepared picture"
        return Reply(
            request_id=ask.request_id,
            answer=answer.text,
            level=answer.level,
            timing_ms=self._timing(work),
            model=self.model_name,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            tiles=len(prepared.sizes),
            gpu_memory_mb=answer.gpu_memory_mb,
        )

    def _holding(self, ask: Ask, knobs: IngressKnobs, wait_s: float, timing: Timing) -> Reply:
        return Reply(ask.request_id, knobs.holding_text, Level.HOLDING, timing, self.model_name, retry_after_s=wait_s)


@dataclass(slots=True)
class _Work:
    """When it began and what has been got so far; the timing of a failure tells how far it came."""

    began: float
    prepared: Prepared | None = None
    answer: Answer | None = None


def _record(reply: Reply, work: _Work) -> Record:
    prepared = work.prepared
    return Record(
        request_id=reply.request_id,
        created=work.began,
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
