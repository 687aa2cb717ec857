"""A picture model in one object, with no Ray in sight: for notebooks, evaluation and the model deployment alike.

>>> model = VisionModel.from_pretrained("demo/checkpoint")
>>> model.generate(image="demo/samples/waybill-1.png", text="运单号是多少？").text
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from deployments.contract import ANY_SIZE, Level, ModelInfo, Pixels, Place, Turn, View
from deployments.model import memory
from deployments.model.answer_text import clean
from deployments.model.capacity import Capacity, capacity
from deployments.model.engine import Clock, Decoding, Engine, EngineRequest, Generation
from deployments.model.gate import ANYBODY, Let
from deployments.model.loading import Loaded, banner, gpu_memory_mb, load, resolve_device
from deployments.model.probe import QUESTION, blank, probes
from deployments.model.prompt import Writer
from deployments.model.reference import ReferenceEngine
from deployments.model.rows.engine import RowEngine
from deployments.model.settings import ModelKnobs, ModelSettings
from deployments.model.streaming import TextStream
from deployments.preprocess.picture import Tiles, prepare
from deployments.preprocess.settings import PreprocessKnobs


def row_engine(loaded: Loaded, settings: ModelSettings, clock: Clock) -> RowEngine:
    """Raises Misfit when its rows do not fit beside the weights."""
    memory.check_fit(loaded, settings)
    family = loaded.take_apart()
    engine = RowEngine(loaded, settings.rows, clock, family, settings.threads or None)
    memory.check_measured(loaded, family, engine.batch.cache, settings)
    return engine


ENGINES: dict[str, Callable[[Loaded, ModelSettings, Clock], Engine]] = {
    "reference": lambda loaded, _settings, clock: ReferenceEngine(loaded, clock),
    "rows": lambda loaded, settings, clock: row_engine(loaded, settings, clock),
}

VERSION = 3
"""Of how a question becomes an answer in this package: with a change here, answers of before no longer count."""

ImageLike = str | Path | bytes | Image.Image | Pixels


class VisionModel:
    """A loaded checkpoint behind an engine."""

    def __init__(self, loaded: Loaded, settings: ModelSettings, knobs: ModelKnobs, clock: Clock = time.time) -> None:
        self.loaded, self.settings, self.knobs = loaded, settings, knobs
        self._weights = loaded.fingerprint()
        self._room: tuple[ModelKnobs, Capacity] | None = None
        self.engine = ENGINES[settings.engine](loaded, settings, clock)

    @classmethod
    def from_pretrained(cls, checkpoint: str | Path, knobs: ModelKnobs | None = None, **settings: Any) -> Self:
        """Load a folder or hub repository. Keywords are those of ``ModelSettings`` (``device``, ``dtype``,
        ``quantization``, ``threads``, …). Raises CheckpointError."""
        folder = str(Path(checkpoint).resolve()) if Path(checkpoint).exists() else str(checkpoint)
        return cls.load(ModelSettings(checkpoint=folder, **settings), knobs or ModelKnobs())

    @classmethod
    def load(cls, settings: ModelSettings, knobs: ModelKnobs) -> Self:
        """Load what the settings name, with their number of torch threads, within their share of a GPU.

        Raises CheckpointError.
        """
        if settings.threads:  # the row engine shares them out to its own: one more team would slow those down
            torch.set_num_threads(1 if settings.engine == "rows" else settings.threads)
        memory.cap(resolve_device(settings.device), settings)
        return cls(load(settings), settings, knobs)

    def submit(
        self,
        pictures: tuple[Pixels, ...],
        text: str,
        max_new_tokens: int | None = None,
        beam_width: int | None = None,
        deadline: float = float("inf"),
        places: tuple[Place, ...] = (),
        on_tokens: Callable[[tuple[int, ...]], None] | None = None,
        knobs: ModelKnobs | None = None,
        turns: tuple[Turn, ...] = (),
        let: Let = ANYBODY,
    ) -> Future[Generation]:
        """Queue a question about prepared pictures; what is not given is as the knobs say, by default the present ones.

        ``places`` tells the parts of one large picture apart; without it, several pictures are not introduced.
        ``turns`` is what was said before the question, ``let`` how it was let in. Raises QuestionEmpty, RequestError
        for what cannot be asked.
        """
        knobs = knobs or self.knobs  # one read: another thread may swap them
        counts = [self.loaded.layout.tokens(picture) for picture in pictures]
        writer = self._writer(knobs)
        writer.check(text)
        prompt = writer.write(text, counts, places, turns)
        decoding = _decoding(knobs, max_new_tokens, beam_width or (None if let.beams else 1))
        return self.engine.submit(
            EngineRequest(prompt, pictures, decoding, deadline, let.begin_by, let.turn, on_tokens=on_tokens)
        )

    def text_stream(self, knobs: ModelKnobs) -> TextStream:
        """What makes text of the ids that ``on_tokens`` is told, of a request that was submitted with these knobs."""
        return TextStream(partial(self.loaded.tokenizer.decode, skip_special_tokens=True), self._writer(knobs).begins())

    def answer(self, generation: Generation, knobs: ModelKnobs) -> str:
        """The answer in what was generated for a request with these knobs; empty if there is none."""
        return clean(generation.text, self._writer(knobs).begins())

    def generate(
        self,
        image: ImageLike,
        text: str,
        max_new_tokens: int | None = None,
        beam_width: int | None = None,
        preprocess: PreprocessKnobs | None = None,
    ) -> Generation:
        """Ask one question about one picture and wait; the answer is cleaned of template leftovers."""
        tiles, knobs = prepared(image, preprocess or PreprocessKnobs(), self.loaded.layout.view), self.knobs
        asked = self.submit(tiles.pixels, text, max_new_tokens, beam_width, places=tiles.places, knobs=knobs)
        generation = asked.result()
        return replace(generation, text=self.answer(generation, knobs))

    def warm_up(self) -> None:
        """Answer once each way, so that the first caller does not pay for lazy initialisation.

        Raises CheckpointError when the answers are none, or not those of the model itself.
        """
        for asked in probes(self.loaded):
            request = EngineRequest(asked.prompt, asked.pictures, Decoding(max_new_tokens=2))
            asked.check(self.engine.submit(request).result().token_ids, self.loaded.eos_token_ids)
        self.submit((blank(self.loaded),), QUESTION, max_new_tokens=2).result()

    def info(self) -> ModelInfo:
        room = self._capacity(self.knobs)
        return ModelInfo(
            name=self.settings.name,
            device=str(self.loaded.device),
            dtype=str(self.loaded.dtype).removeprefix("torch."),
            quantization=self.loaded.quantization,
            parameters=self.loaded.parameters,
            engine=self.settings.engine,
            level=Level(self.knobs.level),
            serving=self.serving(self.knobs),
            prompt_tokens=room.prompt_tokens,
            tokens_per_char=room.tokens_per_char,
            part_tokens=room.part_tokens,
            view=self.loaded.layout.view,
        )

    def _capacity(self, knobs: ModelKnobs) -> Capacity:
        if self._room is None or self._room[0] is not knobs:
            length = self.settings.rows.length
            if self.settings.engine == "reference":
                length = self.loaded.model.config.get_text_config().max_position_embeddings
            self._room = knobs, capacity(self._writer(knobs), length, self.loaded.layout.view)
        return self._room[1]

    def serving(self, knobs: ModelKnobs) -> str:
        """A digest of what an answer hangs on but for picture, question and level: weights, prompt, search, ends."""
        loaded, rows = self.loaded, self.settings.rows
        parts = [VERSION, self._weights, str(loaded.dtype), loaded.quantization, loaded.tokenizer.chat_template]
        parts += [str(loaded.layout), loaded.eos_token_ids, self.settings.engine, rows.rows, rows.length]
        parts.append(knobs.model_dump_json(exclude={"level", "ladder", "admission"}))
        return sha256(json.dumps(parts).encode()).hexdigest()

    def banner(self) -> str:
        """One line for the log: what serves, in which precision, where, and how much memory it holds."""
        return banner(self.loaded, self.settings)

    def gpu_memory_mb(self) -> int:
        return gpu_memory_mb(self.loaded.device)

    def close(self) -> None:
        self.engine.close()

    def _writer(self, knobs: ModelKnobs) -> Writer:
        return self.loaded.writer(knobs.system_prompt, knobs.enable_thinking)


def _decoding(knobs: ModelKnobs, max_new_tokens: int | None, beam_width: int | None) -> Decoding:
    """How a request is decoded, within the limits of the knobs; what it leaves open is as they say."""
    width = beam_width or (knobs.beam_width if knobs.level == "full" else 1)
    tokens = min(max_new_tokens or knobs.default_max_new_tokens, knobs.max_new_tokens)
    return Decoding(tokens, width, knobs.length_penalty, knobs.early_stopping)


def prepared(image: ImageLike, knobs: PreprocessKnobs, view: View = ANY_SIZE) -> Tiles:
    """Tiles of whatever names, holds or is a picture, through the same code as the service's preprocessor."""
    if isinstance(image, str | Path):
        image = Path(image).read_bytes()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        buffer = BytesIO()
        image.save(buffer, "PNG")
        image = buffer.getvalue()
    return prepare(image, knobs, view=view)
