"""Answers from the model or from the cache: what has been answered, or is being answered, is not computed again."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from deployments.contract import Answer, Load, ModelInfo, Prepared, Question
from deployments.errors import TuwenError
from deployments.ingress.answers.cache import AnswerCache, CachedAnswer, CacheKey, may_serve
from deployments.ingress.answers.flight import Flights
from deployments.ingress.answers.masking import MaskedStream, mask_personal_numbers
from deployments.ingress.ports import Model
from deployments.ingress.watch import ModelWatch


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prepared picture, the question about it, whose it is, and whether personal numbers are to be masked."""

    prepared: Prepared
    question: Question
    tenant: str
    masked: bool

    def key(self, serving: str) -> CacheKey:
        return CacheKey(
            self.tenant,
            self.prepared.picture,
            self.question.text,
            serving,
            self.question.max_new_tokens,
            self.masked,
            self.question.turns,
        )


class Answers:
    """The model behind an answer cache (None: nothing is kept) and single flight."""

    def __init__(self, model: Model, watch: ModelWatch, cache: AnswerCache | None) -> None:
        self._model, self._watch, self._cache = model, watch, cache
        self._flights: Flights[tuple[CacheKey, str], Answer] = Flights()

    async def answer(self, wanted: Wanted) -> tuple[Answer, bool]:
        """The answer, and whether it was kept or another caller's. Raises what the model raises."""
        now = await self._now()
        if now is None:
            return await self._computed(wanted), False
        if found := await self._found(wanted, now):
            return found, True
        # Whoever asks while the service is at `full` must not be given what was begun at a lower level.
        return await self._flights.run((wanted.key(now.serving), now.level), lambda: self._computed(wanted))

    async def stream(self, wanted: Wanted) -> AsyncGenerator[str | tuple[Answer, bool]]:
        """The answer's text as it comes, then what ``answer`` gives."""
        now = await self._now()
        if now is not None and (found := await self._found(wanted, now)):
            yield found.text
            yield found, True
            return
        masked = MaskedStream() if wanted.masked else None
        async with aclosing(self._model.stream(wanted.prepared, wanted.question)) as items:
            async for item in items:
                if isinstance(item, Answer):
                    if masked and (rest := masked.finish()):
                        yield rest
                    yield await self._kept(wanted, item), False
                elif text := masked.push(item) if masked else item:
                    self._watch.heard()
                    yield text

    async def _now(self) -> ModelInfo | None:
        """What answers hang on; None where nothing is to be kept or found, or the model does not say."""
        try:
            return await self._watch.recent() if self._cache is not None else None
        except TuwenError:
            return None

    async def _found(self, wanted: Wanted, now: ModelInfo) -> Answer | None:
        assert self._cache is not None
        kept = await self._cache.get(wanted.key(now.serving))
        if kept is None or not may_serve(kept.level, now.level):
            return None
        load = Load(0, 0, now.level)
        return Answer(kept.text, kept.level, kept.finish_reason, kept.usage, 0.0, 0.0, 0, load, now.serving)

    async def _computed(self, wanted: Wanted) -> Answer:
        return await self._kept(wanted, await self._model.answer(wanted.prepared, wanted.question))

    async def _kept(self, wanted: Wanted, answer: Answer) -> Answer:
        """The answer as it is told and kept: under what the model said it was computed with."""
        self._watch.heard(answer)
        if wanted.masked:
            answer = replace(answer, text=mask_personal_numbers(answer.text))
        if self._cache is not None:
            tiles, cost = len(wanted.prepared.sizes), answer.generate_ms
            kept = CachedAnswer(answer.text, answer.level, answer.finish_reason, answer.usage, tiles, cost)
            await self._cache.put(wanted.key(answer.serving), kept)
        return answer
