"""A burst of sample questions, sent by the ingress itself: anyone can watch what it does to the service."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from deployments.contract import Flow
from deployments.errors import Overloaded
from deployments.ingress.asking import Ask
from deployments.ingress.uploads import Upload

MOST = 400
SECONDS = 3.0
FEWEST_TOKENS = 100
USER = "burst"


@dataclass(frozen=True, slots=True)
class Sample:
    file: Path
    question: str


def samples(folder: Path, index: Sequence[dict[str, Any]]) -> list[Sample]:
    """The longest question about each sample picture, which is the last one."""
    return [Sample(folder / entry["file"], entry["questions"][-1]) for entry in index]


class Bursts:
    """Sends one burst at a time; what comes of it is for the counts alone."""

    def __init__(self, ask: Callable[[Ask], Awaitable[object]], clock: Callable[[], float]) -> None:
        self._ask, self._clock = ask, clock
        self._under_way: asyncio.Task[None] | None = None

    def send(self, of: Sequence[Sample], count: int, flow: Flow, over_s: float = SECONDS) -> int:
        """Begins a burst of ``count`` questions over so many seconds; returns how many.

        Raises Overloaded for one beside another.
        Each may be of another length, so that none is answered from the cache or by another's answer.
        """
        if self._under_way is not None and not self._under_way.done():
            raise Overloaded("a burst is under way already: wait for its end", over_s)
        count = min(count, MOST) if of else 0
        self._under_way = asyncio.create_task(self._sent(list(islice(cycle(of), count)), flow, over_s))
        return count

    async def _sent(self, chosen: list[Sample], flow: Flow, over_s: float) -> None:
        asking = []
        for number, sample in enumerate(chosen):
            asking.append(asyncio.create_task(self._one(sample, flow, FEWEST_TOKENS + number)))
            await asyncio.sleep(over_s / len(chosen))
        await asyncio.gather(*asking, return_exceptions=True)

    async def _one(self, sample: Sample, flow: Flow, tokens: int) -> None:
        image = Upload.of(await asyncio.to_thread(sample.file.read_bytes))
        await self._ask(
            Ask(str(uuid.uuid4()), self._clock(), image, sample.question, tokens, tenant=flow.tenant, user=USER)
        )
