"""What an engine is: takes requests, gives futures. Two of them: the row engine, and ``generate`` as its yardstick."""

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Literal, Protocol

from deployments.contract import FinishReason, Level, Pixels, Usage
from deployments.model.prompt import Prompt
from deployments.model.repetition import repeats

logger = logging.getLogger("ray.serve")

CLOSING_S = 60.0
"""For so long an engine that closes lets the requests that run go on."""

EarlyStopping = bool | Literal["never"]
"""When a beam search ends: as soon as it has enough answers, once better ones are unlikely, once there can be none."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to search: ``beam_width`` 1 is greedy. Semantics are those of ``transformers``' ``generate``."""

    max_new_tokens: int
    beam_width: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A prompt and the pictures it speaks of. ``deadline`` is on the engine's clock; work past it is given up.

    One that has not been begun at ``begin_by`` is refused as overload: it would not be done in time. A higher
    ``priority`` is served first, within one the lowest ``turn``. ``on_tokens`` is told, on the engine's thread, new
    token ids as soon as it is certain that they are part of the answer: a greedy search's at each step, a beam search's
    when it collapses.
    """

    prompt: Prompt
    pictures: tuple[Pixels, ...]
    decoding: Decoding
    deadline: float = float("inf")
    begin_by: float = float("inf")
    turn: float = 0.0
    priority: int = 0
    on_tokens: Callable[[tuple[int, ...]], None] | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What came out: the new token ids (the end token left out), their text, and where the time went.

    ``level`` is ``full`` if as many beams as were asked for searched it to its end, else ``fast``.
    """

    token_ids: tuple[int, ...]
    text: str
    level: Level
    finish_reason: FinishReason
    usage: Usage
    queue_ms: float
    generate_ms: float


def ended(token_ids: Sequence[int], eos_token_ids: Collection[int]) -> tuple[tuple[int, ...], FinishReason]:
    """The ids before the first end token, and why they are no more."""
    for place, token_id in enumerate(token_ids):
        if token_id in eos_token_ids:
            return tuple(token_ids[:place]), "stop"
    return tuple(token_ids), "repetition" if repeats(token_ids) else "length"


Clock = Callable[[], float]


class Answering(Future[Generation]):
    """A future that can still be cancelled while it runs: the engine looks at ``abandoned`` at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.abandoned = threading.Event()

    def cancel(self) -> bool:
        self.abandoned.set()
        return super().cancel()

    def resolve(self, outcome: Generation | BaseException) -> None:
        """Tell whoever waits; somebody who has just cancelled does not. What they do with it is their own business."""
        try:
            if isinstance(outcome, BaseException):
                self.set_exception(outcome)
            else:
                self.set_result(outcome)
        except InvalidStateError:
            pass
        except BaseException as fault:  # Future only holds back what is an Exception
            logger.warning("whoever waited for an answer failed on it: %r", fault)


class Engine(Protocol):
    """Runs requests on its own thread; never blocks the caller.

    One that nobody holds any more answers what it was asked, ends its thread and is gone.
    """

    def submit(self, request: EngineRequest) -> Future[Generation]:
        """The generation to come; fails with DeadlineExceeded when the deadline passes first,
        with Unavailable when the engine ends or its device fails, with Overloaded when memory is short.

        Raises QuestionTooLong, Overloaded when too many wait, Unavailable once closed.

        Cancelling the future takes the request out of the queue, or stops it at its next step.
        """
        ...

    def load(self) -> tuple[int, int]:
        """(running, waiting) requests."""
        ...

    def pressure(self) -> tuple[int, float]:
        """How many rows are held, and how many seconds the oldest request has waited for some (0: it is not known)."""
        ...

    def check(self) -> None:
        """Raises RuntimeError when the engine can no longer answer."""
        ...

    def close(self) -> None:
        """Stop; requests not yet begun fail with Unavailable, and so do those that do not end within a minute."""
        ...
