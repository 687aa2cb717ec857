"""One request from picture and question to answer: fetch, prepare, ask, account for the time, keep the record."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager

from deployments.contract import Level, Prepared, Question, View
from deployments.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    ImageError,
    ImageMissing,
    Overloaded,
    SafetyUnavailable,
    TuwenError,
    Unavailable,
)
from deployments.ingress.admission import Admission
from deployments.ingress.answers.answers import Answers, Wanted
from deployments.ingress.answers.cache import AnswerCache
from deployments.ingress.answers.flight import Flights
from deployments.ingress.asking import CANCELLED, HUNG_UP, Ask, Reply, Work, record_of
from deployments.ingress.limits import Limits, limits
from deployments.ingress.ports import Downloader, Model, Preprocessor
from deployments.ingress.questions import check_words
from deployments.ingress.records import Record, RecordStore, Timing
from deployments.ingress.settings import IngressKnobs
from deployments.ingress.traffic import Traffic
from deployments.ingress.trimming import Trimmer
from deployments.ingress.uploads import SPOOL_BYTES, ByteBudget, Upload
from deployments.ingress.watch import ModelWatch, PreprocessorWatch

logger = logging.getLogger("ray.serve")

REPLY_S = 0.1
"""A reply is written so long before its deadline: it has to get there."""
ATTEMPTS = 2
"""A replica that dies takes its requests with it; each is tried once more, within its deadline."""

OF_THE_PICTURE = (ImageError, SafetyUnavailable, Overloaded, Unavailable)
"""Faults in preparing a picture that all who sent it share; a missed deadline is its request's own."""


class Pipeline:
    """Owns nothing but the way through: what is behind protocols, the record store, and the present knobs.

    ``safety`` names the safety checks that run, ``rejected`` says which knobs were refused, both for ``/healthz``.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        model: Model,
        downloader: Downloader,
        records: RecordStore,
        model_name: str,
        cache: AnswerCache | None = None,
        safety: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.records, self.model_name, self.cache, self.safety = records, model_name, cache, safety
        self.knobs, self.rejected = IngressKnobs(), tuple[str, ...]()
        self.watch, self.preprocessor_watch = ModelWatch(model, clock), PreprocessorWatch(preprocessor, clock)
        self._preprocessor, self._downloader, self._clock = preprocessor, downloader, clock
        self.admission, self.traffic = Admission(self.watch.fleet, clock), Traffic(self.watch.fleet, clock)
        self._answers = Answers(model, self.watch, cache)
        self._preparing: Flights[tuple[str, str, Level, int | None, View], Prepared] = Flights(shared=OF_THE_PICTURE)
        self._memory, self._trimmer = ByteBudget(0), Trimmer()

    def beside(self, model: Model, name: str) -> "Pipeline":
        """Another model's pipeline, with all but the model in common."""
        other = Pipeline(
            self._preprocessor, model, self._downloader, self.records, name, self.cache, self.safety, self._clock
        )
        other.preprocessor_watch, other._memory, other._trimmer = self.preprocessor_watch, self._memory, self._trimmer
        return other

    async def ask(self, ask: Ask) -> Reply:
        """The answer, or under overload the holding reply. Raises TuwenError; either way the record is kept."""
        knobs = self.knobs
        async with self._accounted(ask) as work:
            try:
                await self._check(ask, knobs)
                deadline = ask.deadline(knobs.request_timeout_s)
                with self.admission.let_through(ask.flow, deadline), self.traffic.admitted():
                    await self._within_deadline(ask, deadline, work)
            except TuwenError as error:
                return await self._refused(ask, error, knobs, work)
            return await self._answered(ask, work)

    async def stream(self, ask: Ask) -> AsyncGenerator[str | Reply]:
        """The answer's text as it comes, then the whole reply; else as ``ask``."""
        knobs = self.knobs
        async with self._accounted(ask) as work:
            try:
                await self._check(ask, knobs)
                deadline = ask.deadline(knobs.request_timeout_s)
                with self.admission.let_through(ask.flow, deadline), self.traffic.admitted():
                    async with aclosing(self._streamed(ask, deadline, work)) as texts:
                        async for text in texts:
                            yield text
            except TuwenError as error:
                yield await self._refused(ask, error, knobs, work)
                return
            yield await self._answered(ask, work)

    async def ended(self, tenant: str, request_id: str, arrived: float, status: int, error: str) -> None:
        """Keep a record of a request that ended before it was asked, unless it has one."""
        known = await self.records.get(tenant, request_id)
        if known is None or known.created != arrived:
            total = round((self._clock() - arrived) * 1e3)
            timing = Timing(0, 0, total, 0, total)
            await self.records.put(Record(tenant, request_id, arrived, status, self.model_name, timing, error=error))

    @asynccontextmanager
    async def _accounted(self, ask: Ask) -> AsyncGenerator[Work]:
        """The work of a request, whose picture goes and whose record stays however it ends."""
        work = Work()
        self.traffic.count("offered")
        try:
            yield work
        except (asyncio.CancelledError, GeneratorExit):
            await self._failed(ask, HUNG_UP, CANCELLED, work)
            raise
        except TuwenError as error:
            await self._failed(ask, error.status, error.code, work)
            raise
        except Exception:
            await self._failed(ask, TuwenError.status, TuwenError.code, work)
            raise
        finally:
            for upload in (ask.image, work.image):
                if isinstance(upload, Upload):
                    upload.close()
                    if upload.size > SPOOL_BYTES:
                        self._trimmer.ask()

    async def _within_deadline(self, ask: Ask, deadline: float, work: Work) -> None:
        async with self._time_left(deadline):
            await self._fetch(ask, work)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._time_left(deadline):
                    wanted = await self._prepared(ask, deadline, work)
                    work.given = await self._answers.answer(wanted)
                return
            except Unavailable as fault:
                self._try_again(ask, fault, attempt)

    async def _streamed(self, ask: Ask, deadline: float, work: Work) -> AsyncGenerator[str]:
        """Texts until ``work`` has been given the answer. Once something has been said, nothing is tried again."""
        said = False
        async with self._time_left(deadline):
            await self._fetch(ask, work)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._time_left(deadline):
                    wanted = await self._prepared(ask, deadline, work)
                async with aclosing(self._answers.stream(wanted)) as items:
                    while work.given is None:
                        async with self._time_left(deadline):
                            item = await anext(items)
                        if isinstance(item, str):
                            said = True
                            yield item
                        else:
                            work.given = item
                return
            except Unavailable as fault:
                self._try_again(ask, fault, ATTEMPTS if said else attempt)

    async def _fetch(self, ask: Ask, work: Work) -> None:
        """The picture's bytes into ``work``, which counts the time if they had to be downloaded."""
        if isinstance(ask.image, Upload):
            work.image = ask.image
            return
        began = self._clock()
        try:
            data = await self._downloader.fetch(ask.image, self.knobs.fetch, self.knobs.max_body_bytes)
        finally:
            work.fetch_s = self._clock() - began
        work.image = await asyncio.to_thread(Upload.of, data)

    async def _prepared(self, ask: Ask, deadline: float, work: Work) -> Wanted:
        """What is wanted of the model; pictures that are alike byte for byte are prepared once, if at the same time."""
        assert work.image is not None, "it has been fetched"
        image, digest = work.image, await work.image.digest()
        most_tokens = (await self.limits()).picture_tokens(ask.text, ask.turns)
        level = self.watch.level  # one read: it is part of what is shared
        view = await self._view()
        alike = ask.tenant, digest, level, most_tokens, view
        work.prepared, _ = await self._preparing.run(
            alike, lambda: self._prepare(image, level, deadline, most_tokens, view)
        )
        shed = self.admission.take_shed()
        question = Question(ask.request_id, ask.text, ask.max_new_tokens, deadline, ask.turns, ask.flow, shed, view)
        return Wanted(work.prepared, question, ask.tenant, self.knobs.mask_personal_numbers)

    async def _view(self) -> View:
        """What the model wants to see of a picture, as it last said. Raises Unavailable if it never has."""
        try:
            return (await self.watch.recent()).view
        except TuwenError:
            if self.watch.known is None:
                raise
            return self.watch.known.view

    async def _prepare(
        self, image: Upload, level: Level, deadline: float, most_tokens: int | None, view: View
    ) -> Prepared:
        self._memory.limit = self.knobs.picture_memory_mb * 2**20
        async with self._memory.hold(image.size):
            return await self._preprocessor.prepare(await image.read(), level, deadline, most_tokens, view)

    @asynccontextmanager
    async def _time_left(self, deadline: float) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(deadline - self._clock() - REPLY_S):
                yield
        except TimeoutError as late:
            raise DeadlineExceeded(
                "there was no answer in time: ask again, with a smaller picture if you can, or allow more time"
            ) from late

    def _try_again(self, ask: Ask, fault: Unavailable, attempt: int) -> None:
        """Raises the fault when it was the last attempt, Overloaded where another one would only add to the load."""
        self.watch.doubt()
        if attempt == ATTEMPTS:
            raise fault
        if self.watch.fleet.level is Level.HOLDING:
            raise Overloaded("the service is busy, and what worked on this has failed: ask again") from fault
        logger.warning("request %s: %s; trying once more", ask.request_id, fault)

    async def limits(self) -> Limits:
        """How much may be asked, by this ingress's knobs and by what the others last said; bounded waits only."""
        try:
            model, taken = await self.watch.recent(), await self.preprocessor_watch.recent()
        except TuwenError:  # whoever is away says so when asked for work
            return Limits(self.knobs.max_question_chars)
        return limits(self.knobs.max_question_chars, model, taken)

    async def _check(self, ask: Ask, knobs: IngressKnobs) -> None:
        size = ask.image.size if isinstance(ask.image, Upload) else len(ask.image)
        if not size:
            raise ImageMissing("there is no picture: send one in the field `image`")
        if isinstance(ask.image, Upload) and size > knobs.max_body_bytes:
            raise BodyTooLarge(
                f"the picture has {size} bytes, more than the {knobs.max_body_bytes} allowed: send it smaller"
            )
        check_words(ask.text, ask.turns, (await self.limits()).question_chars)

    def _timing(self, ask: Ask, work: Work) -> Timing:
        total = round((self._clock() - ask.arrived) * 1e3)
        preprocess = round(work.prepared.preprocess_ms) if work.prepared else 0
        generate = round(work.given.answer.generate_ms) if work.given else 0
        fetch = round(work.fetch_s * 1e3)
        # What another caller began earlier took longer than this one has waited for it.
        preprocess = min(preprocess, max(0, total - fetch))
        generate = min(generate, max(0, total - fetch - preprocess))
        return Timing(fetch, preprocess, max(0, total - fetch - preprocess - generate), generate, total)

    async def _answered(self, ask: Ask, work: Work) -> Reply:
        reply = self._reply(ask, work)
        self.traffic.count(reply.level)
        await self.records.put(record_of(ask, reply, work))
        return reply

    async def _refused(self, ask: Ask, error: TuwenError, knobs: IngressKnobs, work: Work) -> Reply:
        """The holding reply for an overload, unless its caller wants an error. Raises any other error."""
        if isinstance(error, DeadlineExceeded) and self.watch.fleet.level is not Level.FULL:
            error = Overloaded("the service is busy, and there was no answer in time: ask again", error.retry_after_s)
        if isinstance(error, Overloaded):
            self.traffic.count(Level.HOLDING)
            wait_s = error.retry_after_s or knobs.retry_after_s
            if ask.on_overload == "answer":
                reply = self._holding(ask, knobs, wait_s, self._timing(ask, work))
                await self.records.put(record_of(ask, reply, work))
                return reply
            error = Overloaded(f"the service is busy: ask again in {wait_s:g} s", wait_s)
        raise error

    async def _failed(self, ask: Ask, status: int, error: str, work: Work) -> None:
        timing = self._timing(ask, work)
        if error != Overloaded.code:
            self.traffic.count("failed")
        await self.records.put(
            Record(ask.tenant, ask.request_id, ask.arrived, status, self.model_name, timing, error=error)
        )

    def _reply(self, ask: Ask, work: Work) -> Reply:
        assert work.given is not None, "whoever asks the model comes back with an answer"
        assert work.prepared is not None, "and an answer needs a prepared picture"
        answer, boxes, prepared = work.given.answer, work.given.boxes, work.prepared
        return Reply(
            request_id=ask.request_id,
            answer=answer.text,
            level=answer.level,
            timing_ms=self._timing(ask, work),
            model=self.model_name,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            tiles=len(boxes),
            image_size=prepared.size,
            tile_boxes=boxes[1:],  # the overview stands first
            flags=prepared.flags,
            gpu_memory_mb=answer.gpu_memory_mb,
            cached=work.given.cached,
        )

    def _holding(self, ask: Ask, knobs: IngressKnobs, wait_s: float, timing: Timing) -> Reply:
        return Reply(ask.request_id, knobs.holding_text, Level.HOLDING, timing, self.model_name, retry_after_s=wait_s)
