"""What the ingress knows of the model: what it serves with and at which level, asked now and then."""

import asyncio
import time
from collections.abc import Callable

from deployments.contract import Answer, Level, ModelInfo
from deployments.errors import Overloaded, Unavailable
from deployments.ingress.ports import Model

INFO_TIMEOUT_S = 2.0
FRESH_S = 5.0
"""For so long what the model said of itself stands: a knob that changes takes so long to reach answers kept."""
GLANCE_S = 0.5
"""For so long whoever asks after the model's health is told what the one before was told."""
BUSY_WAIT_S = 0.3
"""For so long a model known to be there is waited for; then its last word is told."""
SILENCE_S = 30.0
"""A model that answered nothing for so long, and does not say what it is either, counts as away."""


class ModelWatch:
    """Remembers the model's last word about itself; ``level`` is where the service was when it was last heard of."""

    def __init__(self, model: Model, clock: Callable[[], float] = time.time) -> None:
        self._model, self._clock = model, clock
        self.level = Level.FULL
        self._info: ModelInfo | None = None
        self._told = self._heard = 0.0
        self._asking: asyncio.Task[ModelInfo] | None = None

    def heard(self, answer: Answer | None = None) -> None:
        """The model has just said something; an answer also tells what it serves with, and at which level."""
        self._heard = self._clock()
        if answer is None:
            return
        self.level = answer.load.level
        if self._info is not None and (answer.serving, answer.load.level) != (self._info.serving, self._info.level):
            self._told = 0.0  # to be asked again before anything that was kept is given

    async def info(self) -> ModelInfo:
        """What the model serves with. While it is only busy, its last word stands, and is not waited for.

        However many ask at once, the model is asked once. Raises Unavailable when it has neither told nor answered
        anything for ``SILENCE_S``, or never has.
        """
        if self._info is not None and self._clock() - self._told < GLANCE_S:
            return self._info
        asking, known = self._asked(), self._info is not None and self._clock() - self._heard <= SILENCE_S
        try:
            async with asyncio.timeout(BUSY_WAIT_S if known else None):
                return await asyncio.shield(asking)
        except TimeoutError:
            assert self._info is not None, "it is known"
            return self._info

    async def recent(self) -> ModelInfo:
        """As ``info``, but not asked again within ``FRESH_S``."""
        if self._info is not None and self._clock() - self._told < FRESH_S:
            return self._info
        return await asyncio.shield(self._asked())

    def _asked(self) -> "asyncio.Task[ModelInfo]":
        """The one question under way."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        return self._asking

    async def _ask(self) -> ModelInfo:
        try:
            async with asyncio.timeout(INFO_TIMEOUT_S):
                self._info = await self._model.info()
            self._told = self._heard = self._clock()
            self.level = self._info.level
        except (Overloaded, TimeoutError) as busy:
            if self._info is None or self._clock() - self._heard > SILENCE_S:
                raise Unavailable("the model has not answered yet: ask again") from busy
        return self._info
