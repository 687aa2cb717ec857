"""What travels between the deployments: frozen values, checked where they are made. Imports nothing of ours."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""A decoded picture or tile: uint8, (height, width, 3), RGB."""

Place = tuple[int, int]
"""Row and column, from 1, of a tile in the grid cut from a large picture."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of an upright picture."""

OVERVIEW: Place = (0, 0)
"""The place of the whole picture, which stands before its tiles."""

CELL = 28
"""Side in pixels of one visual token of the GLM family (patch 14, merged 2 x 2); prepared sides are multiples of it."""

PUBLIC = "public"
"""The tenant of whoever needs no key."""

BATCH_WEIGHT = 1 / 8
"""The share of work that nobody waits for, beside one who waits: it comes later, and it does come."""

FinishReason = Literal["stop", "length", "repetition"]
"""The model has ended its answer; the answer was cut; it said the same again and again, and was stopped."""


class Level(StrEnum):
    """How much work an answer is worth at the moment: beam search, greedy decoding, or the holding text at once."""

    FULL = "full"
    FAST = "fast"
    HOLDING = "holding"


@dataclass(frozen=True, slots=True)
class Turn:
    """Something said before the question, in the roles of chat templates."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """What a model wants to see of a picture.

    ``side``: as many pixels each way, whatever the picture's own are, which take ``tokens`` of the prompt; without it,
    the picture's own shape in multiples of ``CELL``. ``tiles``: whether a large picture may be shown in parts.
    """

    side: int | None = None
    tokens: int | None = None
    tiles: bool = True


ANY_SIZE = View()
"""Of a model that takes a picture as it is, large ones in parts."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Requests that stand in one line: a tenant's user's; ``batch``: nobody waits for them."""

    tenant: str = PUBLIC
    user: str = ""
    batch: bool = False

    @property
    def weight(self) -> float:
        """Its share of what is served, beside others'."""
        return BATCH_WEIGHT if self.batch else 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is asked about a prepared picture, and in ``turns`` what was said before it.

    ``deadline`` is seconds since the epoch: nobody reads the answer after it. It crosses machines, whose clocks are
    taken to agree to within a fraction of a second (NTP). ``flow`` is whose it is; ``shed`` is how many the sender has
    turned away since its last question: they are demand too. ``view`` is what its picture was prepared for.
    """

    request_id: str
    text: str
    max_new_tokens: int | None
    deadline: float
    turns: tuple[Turn, ...] = ()
    flow: Flow = Flow()
    shed: int = 0
    view: View = ANY_SIZE

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a question needs text")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a safety check, ``source``, holds a picture for, and how surely (0 to 1)."""

    label: str
    score: float
    source: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture ready for the model: the pixels of its tiles, and what is known of it without them.

    ``sizes`` are the tiles' (height, width), ``places`` where in the picture they belong: the overview first, then the
    tiles of a large picture in reading order; ``boxes`` are their (left, top, right, bottom) in pixels of the upright
    picture, whose (width, height) is ``size``. ``picture`` is a digest of its pixels: requests about one picture go to
    the replica that knows it, and answers are found again by it. ``flags`` are the verdicts that did not block it.
    ``full_boxes`` are those of level ``full`` where it would have shown others, and empty where it would have shown
    just these.
    """

    tiles: tuple[Pixels, ...]
    picture: str
    sizes: tuple[tuple[int, int], ...]
    places: tuple[Place, ...]
    boxes: tuple[Box, ...]
    size: tuple[int, int]
    source_format: str
    source_size: tuple[int, int]
    preprocess_ms: float
    flags: tuple[Verdict, ...] = ()
    full_boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; ``image_tokens`` are part of ``prompt_tokens``."""

    prompt_tokens: int
    image_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Load:
    """A model replica's load when it sent this: the ingress's eyes. Rides on every answer and every refusal.

    ``rows`` is how many greedy answers it computes at a time, ``rows_used`` how many rows are held. ``gap_s`` is the
    time from answer to answer while requests wait, ``answer_s`` what most answers take once begun, ``queue_age_s`` how
    long the oldest request has waited. Who would wait longer than ``limit_s`` is not let in.
    """

    running: int
    waiting: int
    level: Level
    replica: str = ""
    rows: int = 1
    rows_used: int = 0
    gap_s: float = 0.0
    answer_s: float = 0.0
    queue_age_s: float = 0.0
    limit_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer. Times in milliseconds: ``queue_ms`` waiting inside the replica, ``generate_ms`` computing.

    ``serving`` as in ``ModelInfo``, at the time it was asked.
    """

    text: str
    level: Level
    finish_reason: FinishReason
    usage: Usage
    queue_ms: float
    generate_ms: float
    gpu_memory_mb: int
    load: Load
    serving: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model replica serves with, for ``/healthz`` and ``/v1/models``.

    ``serving`` is a digest of everything but the level that an answer hangs on: weights, prompt, decode settings.
    ``prompt_tokens`` is what picture and question may take together, ``tokens_per_char`` what a character takes at
    worst, ``part_tokens`` what each part of a large picture takes besides its own visual tokens. ``rejected`` says
    which knobs of its last config it could not read. ``load`` is that of the replica that says so, ``view`` what it
    wants to see of a picture.
    """

    name: str
    device: str
    dtype: str
    quantization: str
    parameters: int
    engine: str
    level: Level
    serving: str
    prompt_tokens: int
    tokens_per_char: int
    part_tokens: int
    rejected: tuple[str, ...] = ()
    load: Load | None = None
    view: View = ANY_SIZE


@dataclass(frozen=True, slots=True)
class PreprocessInfo:
    """What a preprocessor replica takes and makes of it, and which knobs of its last config it could not read.

    ``overview_tokens`` are the visual tokens of a whole picture at most; it is shown in ``most_parts`` parts at most.
    """

    formats: tuple[str, ...]
    max_pixels: int
    overview_tokens: int
    most_parts: int
    rejected: tuple[str, ...] = ()
