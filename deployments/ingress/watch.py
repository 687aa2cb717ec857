"""What the ingress knows of the other deployments: what they serve with and take, asked now and then."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Generic, TypeVar

from deployments.contract import Answer, Level, Load, ModelInfo, PreprocessInfo
from deployments.errors import Overloaded, Unavailable
from deployments.ingress.fleet import Fleet
from deployments.ingress.patience import Patience
from deployments.ingress.ports import Model, Preprocessor

T = TypeVar("T")

INFO_TIMEOUT_S = 2.0
FRESH_S = 5.0
"""For so long what a deployment said of itself stands: a knob that changes takes so long to reach answers kept."""
GLANCE_S = 0.5
"""For so long whoever asks after its health is told what the one before was told."""
BUSY_WAIT_S = 0.3
"""For so long one that is known to be there is waited for; then its last word is told."""
SILENCE_S = 30.0
"""One that answered nothing for so long, and does not say what it is either, counts as away."""


class Watch(Generic[T]):
    """Remembers a deployment's last word about itself. However many ask for it at once, it is asked once."""

    def __init__(self, who: str, ask: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._who, self._ask, self._clock = who, ask, clock
        self._known: T | None = None
        self._told = self._heard = 0.0
        self._asking: asyncio.Task[T] | None = None

    @property
    def known(self) -> T | None:
        """Its last word; None before the first one."""
        return self._known

    async def info(self) -> T:
        """Its word of now. While it is only busy, the last one stands, and is not waited for.

        Raises Unavailable when it has neither told nor answered anything for ``SILENCE_S``, or never has.
        """
        return await self._within(GLANCE_S)

    async def recent(self) -> T:
        """As ``info``, but not asked again within ``FRESH_S``."""
        return await self._within(FRESH_S)

    def doubt(self) -> None:
        """Its last word may not hold any more: it is asked before it is believed again."""
        self._told = float("-inf")

    async def _within(self, fresh_s: float) -> T:
        if self._known is not None and self._clock() - self._told < fresh_s:
            return self._known
        asking, lives = self._asked(), self._known is not None and self._clock() - self._heard <= SILENCE_S
        try:
            async with asyncio.timeout(BUSY_WAIT_S if lives else None):
                return await asyncio.shield(asking)
        except TimeoutError:
            assert self._known is not None, "it lives"
            return self._known

    def _asked(self) -> "asyncio.Task[T]":
        """The one question under way."""
        if self._asking is None or self._asking.done():
            # Nobody's own: Serve cancels what a request has asked for when its client hangs up, and others wait here.
            self._asking = asyncio.create_task(self._answered(), context=Context())
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        return self._asking

    async def _answered(self) -> T:
        try:
            async with asyncio.timeout(INFO_TIMEOUT_S):
                self._known = await self._ask()
            self._told = self._heard = self._clock()
        except (Overloaded, TimeoutError) as busy:
            if self._known is None or self._clock() - self._heard > SILENCE_S:
                raise Unavailable(f"{self._who} has not answered yet: ask again") from busy
        return self._known


class PreprocessorWatch(Watch[PreprocessInfo]):
    def __init__(self, preprocessor: Preprocessor, clock: Callable[[], float] = time.time) -> None:
        super().__init__("the preprocessor", preprocessor.info, clock)


class ModelWatch(Watch[ModelInfo]):
    """``level`` is where the service was when it was last heard of, ``fleet`` what its replicas last said."""

    def __init__(self, model: Model, clock: Callable[[], float] = time.time) -> None:
        super().__init__("the model", model.info, clock)
        self.level, self.fleet = Level.FULL, Fleet()
        self.patience = Patience(self.fleet, model.answers, clock)

    def heard(self, answer: Answer | None = None) -> None:
        """The model has just said something; an answer also tells what it serves with, and at which level."""
        self._heard = self._clock()
        if answer is None:
            return
        self.loaded(answer.load)
        if self._known is not None and (answer.serving, answer.load.level) != (self._known.serving, self._known.level):
            self._told = 0.0  # to be asked again before anything that was kept is given

    def loaded(self, load: Load) -> None:
        """A replica has just said how much it has to do."""
        self.level = load.level
        self.fleet.heard(load, self._clock())

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Hears what replicas say of their load as they refuse."""
        try:
            yield
        except Overloaded as full:
            if full.load is not None:
                self.loaded(full.load)
            raise

    async def _answered(self) -> ModelInfo:
        told = self._told
        info = await super()._answered()
        if self._told != told:
            self.level = info.level
            if info.load is not None:
                self.loaded(info.load)
        return info
