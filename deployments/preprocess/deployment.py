"""The preprocessor as a Serve deployment."""

import asyncio
import math
import time
from hashlib import sha256
from typing import Any

from deployments.contract import ANY_SIZE, Level, Prepared, PreprocessInfo, View
from deployments.errors import TuwenError
from deployments.knobs import LiveKnobs
from deployments.malloc import give_back_freed_memory
from deployments.preprocess.picture import Tiles
from deployments.preprocess.safety.check import Subject
from deployments.preprocess.safety.filter import SafetyFilter
from deployments.preprocess.safety.load import load_checks
from deployments.preprocess.sandbox import Sandbox
from deployments.preprocess.settings import PreprocessKnobs, PreprocessSettings


class Preprocessor:
    """Decodes, checks and resizes pictures. Stateless: any replica can prepare any picture, again if need be."""

    def __init__(self, settings: PreprocessSettings) -> None:
        give_back_freed_memory()
        self._knobs = LiveKnobs("Preprocessor", PreprocessKnobs)
        self._safety = SafetyFilter(load_checks(settings.safety))
        self._sandbox = Sandbox(settings.decode_processes)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self._knobs.take(user_config)

    def info(self) -> PreprocessInfo:
        knobs = self._knobs.present
        return PreprocessInfo(
            knobs.formats, knobs.max_pixels, knobs.overview_tokens, knobs.most_parts, self._knobs.rejected
        )

    async def check_health(self) -> None:
        """Raises Unavailable when no decoding process can be started."""
        await asyncio.to_thread(self._sandbox.check)

    async def prepare(
        self,
        data: bytes,
        level: Level = Level.FULL,
        deadline: float = math.inf,
        most_tokens: int | None = None,
        view: View = ANY_SIZE,
    ) -> Prepared | TuwenError:
        """The picture's tiles as the model wants to ``view`` them, and what is known of it.

        A picture's fault comes back as a value.

        There are fewer tiles below ``full``, and rather than more than ``most_tokens`` visual tokens. At ``deadline``
        (seconds since the epoch) the fault is DeadlineExceeded.
        """
        began, knobs = time.perf_counter(), self._knobs.present
        try:
            tiles = await self._sandbox.prepared(data, knobs, level, deadline, most_tokens, view)
            return await asyncio.to_thread(self._reviewed, data, tiles, knobs, began)
        except TuwenError as error:
            return error

    def _reviewed(self, data: bytes, tiles: Tiles, knobs: PreprocessKnobs, began: float) -> Prepared:
        """For a thread: hashing 20 MB and the safety checks would hold up the loop."""
        subject = Subject(tiles.pixels[0], sha256(data).hexdigest(), tiles.picture)
        flags = self._safety.review(subject, knobs.safety)
        return Prepared(
            tiles=tiles.pixels,
            picture=tiles.picture,
            sizes=tiles.sizes,
            places=tiles.places,
            boxes=tiles.boxes,
            size=tiles.size,
            source_format=tiles.source_format,
            source_size=tiles.source_size,
            preprocess_ms=(time.perf_counter() - began) * 1e3,
            flags=flags,
            full_boxes=tiles.full_boxes,
        )

    def __del__(self) -> None:
        if hasattr(self, "_sandbox"):
            self._sandbox.close()
