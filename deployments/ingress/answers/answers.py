"""Answers from the model or from the cache: what has been answered, or is being answered, is not computed again."""

from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing
from dataclasses import dataclass, replace

from deployments.contract import Answer, Box, Level, Load, ModelInfo, Prepared, Question
from deployments.errors import EmptyAnswer, RequestError, TuwenError, Unavailable
from deployments.ingress.answers.cache import AnswerCache, CachedAnswer, CacheKey, may_serve
from deployments.ingress.answers.flight import BrokenOff, Flights, Say
from deployments.ingress.answers.masking import MaskedStream, mask_personal_numbers
from deployments.ingress.ports import Model
from deployments.ingress.watch import ModelWatch

BROKEN_OFF = "the answer broke off, and another one would not go on from there: ask again"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prepared picture, the question about it, whose it is, and whether personal numbers are to be masked."""

    prepared: Prepared
    question: Question
    tenant: str
    masked: bool

    @property
    def is_whole(self) -> bool:
        """Whether the picture shows all that level ``full`` shows of it."""
        return not self.prepared.full_boxes

    def key(self, serving: str, parts: tuple[Box, ...]) -> CacheKey:
        """What the answer about these parts of the picture is kept under."""
        question = self.question
        return CacheKey(
            self.tenant,
            self.prepared.picture,
            question.text,
            serving,
            question.max_new_tokens,
            self.masked,
            question.turns,
            parts,
        )


@dataclass(frozen=True, slots=True)
class Given:
    """An answer, whether it was kept or another caller's, and the ``boxes`` that the model saw of the picture."""

    answer: Answer
    cached: bool
    boxes: tuple[Box, ...]


class Answers:
    """The model behind an answer cache (None: nothing is kept) and single flight."""

    def __init__(self, model: Model, watch: ModelWatch, cache: AnswerCache | None) -> None:
        self._model, self._watch, self._cache = model, watch, cache
        self._flights: Flights[Hashable, Answer] = Flights(shared=(RequestError, EmptyAnswer))

    async def answer(self, wanted: Wanted) -> Given:
        """The answer. Raises what the model raises."""
        now = await self._now()
        if now is not None and (found := await self._found(wanted, now)):
            return found
        answer, shared = await self._flights.run(_flight(wanted, now), lambda: self._computed(wanted))
        return Given(answer, shared, wanted.prepared.boxes)

    async def stream(self, wanted: Wanted) -> AsyncGenerator[str | Given]:
        """The answer's text as it comes, then what ``answer`` gives.

        Of an answer that somebody else has begun to hear, the text so far comes first; of one that nobody hears as it
        comes, the whole.
        """
        now = await self._now()
        if now is not None and (found := await self._found(wanted, now)):
            yield found.answer.text
            yield found
            return
        told = ""
        following = self._flights.follow(_flight(wanted, now), lambda say: self._said(wanted, say))
        async with aclosing(following) as items:
            try:
                async for item in items:
                    if isinstance(item, str):
                        told += item
                        yield item
                        continue
                    answer, shared = item
                    if rest := _rest(answer.text, told):
                        yield rest
                    yield Given(answer, shared, wanted.prepared.boxes)
            except BrokenOff as fault:
                raise Unavailable(BROKEN_OFF) from fault

    async def _now(self) -> ModelInfo | None:
        """What answers hang on; None where nothing is to be kept or found, or the model does not say."""
        try:
            return await self._watch.recent() if self._cache is not None else None
        except TuwenError:
            return None

    async def _found(self, wanted: Wanted, now: ModelInfo) -> Given | None:
        """What was kept of the whole picture, or else of as much as there is of it here."""
        for boxes in filter(None, (wanted.prepared.full_boxes, wanted.prepared.boxes)):
            if found := await self._kept_of(wanted.key(now.serving, boxes), now):
                return Given(found, True, boxes)
        return None

    async def _kept_of(self, key: CacheKey, now: ModelInfo) -> Answer | None:
        assert self._cache is not None
        kept = await self._cache.get(key)
        if kept is None or not may_serve(kept.level, now.level):
            return None
        load = Load(0, 0, now.level)
        return Answer(kept.text, kept.level, kept.finish_reason, kept.usage, 0.0, 0.0, 0, load, now.serving)

    async def _computed(self, wanted: Wanted) -> Answer:
        with self._watch.refusals():
            answer = await self._watch.patience.wait(self._model.answer(wanted.prepared, wanted.question))
        return await self._keep(wanted, answer)

    async def _said(self, wanted: Wanted, say: Say) -> Answer:
        """The same, with its text told as it comes."""
        masked = MaskedStream() if wanted.masked else None
        with self._watch.refusals():
            return await self._told(wanted, say, masked)

    async def _told(self, wanted: Wanted, say: Say, masked: MaskedStream | None) -> Answer:
        stream = self._watch.patience.first(self._model.stream(wanted.prepared, wanted.question))
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Answer):
                    if masked and (rest := masked.finish()):
                        say(rest)
                    return await self._keep(wanted, item)
                if text := masked.push(item) if masked else item:
                    self._watch.heard()
                    say(text)
        raise Unavailable("the model's answer has no end: ask again")

    async def _keep(self, wanted: Wanted, answer: Answer) -> Answer:
        """The answer as it is told and kept: under what it was made from, by the picture's parts and the model's word.

        One from less than level ``full`` shows is none of that level, with however many beams it was searched.
        """
        self._watch.heard(answer)
        if answer.level is Level.FULL and not wanted.is_whole:
            answer = replace(answer, level=Level.FAST)
        if wanted.masked:
            answer = replace(answer, text=mask_personal_numbers(answer.text))
        if self._cache is not None:
            boxes, cost = wanted.prepared.boxes, answer.generate_ms
            kept = CachedAnswer(answer.text, answer.level, answer.finish_reason, answer.usage, len(boxes), cost)
            await self._cache.put(wanted.key(answer.serving, boxes), kept)
        return answer


def _flight(wanted: Wanted, now: ModelInfo | None) -> Hashable:
    """Whose computations are one: who asks while the service is at ``full`` must not be given what was begun lower."""
    if now is None:
        return object()
    return wanted.key(now.serving, wanted.prepared.boxes), now.level


def _rest(text: str, told: str) -> str:
    """What follows what was told. Raises BrokenOff for another text."""
    if not text.startswith(told):
        raise BrokenOff
    return text[len(told) :]
