"""The reference engine: ``model.generate``, one request at a time. Simple and exact, the yardstick of faster ones."""

import logging
import threading
import time
import weakref
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import MethodType
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, StoppingCriteria, StoppingCriteriaList

from deployments.contract import Level, Usage
from deployments.errors import DeadlineExceeded
from deployments.model.engine import CLOSING_S, Answering, Clock, Decoding, EngineRequest, Generation, ended
from deployments.model.health import Health, ending
from deployments.model.loading import Loaded
from deployments.model.repetition import WINDOW, is_due, repeats

logger = logging.getLogger("ray.serve")


class _Stop(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Ends generation at the next step when nobody waits any more."""

    def __init__(self, future: Answering, deadline: float, clock: Clock) -> None:
        self._future, self._deadline, self._clock = future, deadline, clock

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        stop = self._future.abandoned.is_set() or self._clock() >= self._deadline
        return torch.full((input_ids.shape[0],), stop, dtype=torch.bool, device=input_ids.device)


class _Repetition(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Ends a hypothesis that says the same again and again, after a prompt of so many tokens."""

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        said = input_ids[:, self._prompt_tokens :]
        found = [repeats(ids[-WINDOW:]) for ids in said.tolist()] if is_due(said.shape[1]) else [False] * len(said)
        return torch.tensor(found, device=input_ids.device)


@dataclass(frozen=True, slots=True)
class _Job:
    """A request that waits; until it has been answered, it keeps its engine."""

    engine: "ReferenceEngine"
    request: EngineRequest
    future: Answering
    arrived: float


_Jobs = SimpleQueue[_Job | None]


class ReferenceEngine:
    """First come, first served, on one thread of its own."""

    def __init__(self, loaded: Loaded, clock: Clock = time.time) -> None:
        self._loaded, self._clock = loaded, clock
        # GLM's own version gives the beams of a request with several pictures each other's (transformers 5.23).
        loaded.model._expand_multimodal_outputs = MethodType(GenerationMixin._expand_multimodal_outputs, loaded.model)
        self._queue: _Jobs = SimpleQueue()
        self.health = Health(loaded.device)
        self._running: Answering | None = None
        self._gate = threading.Lock()  # nothing comes in once the engine has begun to end
        self._closed = False
        self._thread = threading.Thread(target=_work, args=(self._queue,), name="reference-engine", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._queue.put, None).atexit = False

    def submit(self, request: EngineRequest) -> Future[Generation]:
        future = Answering()
        with self._gate:
            if self._closed:
                raise ending()
            self._queue.put(_Job(self, request, future, time.perf_counter()))
        return future

    def load(self) -> tuple[int, int]:
        return int(self._running is not None), self._queue.qsize()

    def pressure(self) -> tuple[int, float]:
        return int(self._running is not None), 0.0  # its queue cannot be looked into

    def check(self) -> None:
        self.health.check()
        if not self._thread.is_alive():
            raise RuntimeError("the engine's thread has died")

    def close(self) -> None:
        """Refuse the waiting requests at once, finish the running one; Unavailable if that takes a minute."""
        with self._gate:
            self._closed = True
            self._refuse_waiting()
            self._queue.put(None)
        if threading.current_thread() is self._thread:  # whoever was answered closes it
            return
        self._thread.join(timeout=CLOSING_S)
        if self._thread.is_alive() and (running := self._running) is not None:
            running.resolve(ending())
            running.abandoned.set()

    def _refuse_waiting(self) -> None:
        with suppress(Empty):
            while (job := self._queue.get_nowait()) is not None:
                job.future.resolve(ending())

    def run(self, request: EngineRequest, future: Answering, arrived: float) -> None:
        """Answer one, on the engine's thread."""
        if self._closed:
            future.resolve(ending())
            return
        if not future.set_running_or_notify_cancel():
            return
        self._running = future
        try:
            if self._clock() >= request.deadline:
                raise DeadlineExceeded("the request waited past its deadline: ask again, or allow it more time")
            generation = self._generate(request, future, arrived)
            self.health.answered()
            future.resolve(generation)
        except BaseException as fault:
            future.resolve(self._failed(fault))
        finally:
            self._running = None

    def _failed(self, fault: BaseException) -> BaseException:
        """What to tell whoever asked. After the device has failed nothing is begun any more."""
        told = self.health.failed(fault)
        if self.health.ended_by is not None:
            logger.error("the reference engine ends", exc_info=fault)
            with self._gate:
                self._closed = True
        return told

    @torch.inference_mode()
    def _generate(self, request: EngineRequest, future: Answering, arrived: float) -> Generation:
        began = time.perf_counter()
        loaded, decoding, prompt = self._loaded, request.decoding, request.prompt
        output = loaded.model.generate(
            **loaded.inputs(prompt, request.pictures),
            generation_config=searching(decoding, loaded.eos_token_ids),
            stopping_criteria=StoppingCriteriaList(
                [_Stop(future, request.deadline, self._clock), _Repetition(prompt.tokens)]
            ),
        )
        if future.abandoned.is_set():
            raise CancelledError
        if self._clock() >= request.deadline:
            raise DeadlineExceeded(
                "the answer took longer than the request's deadline: ask again, or allow it more time"
            )
        token_ids, finish_reason = ended(output[0, prompt.tokens :].tolist(), loaded.eos_token_ids)
        return Generation(
            token_ids=token_ids,
            text=loaded.tokenizer.decode(token_ids, skip_special_tokens=True),
            level=Level.FULL if decoding.beam_width > 1 else Level.FAST,
            finish_reason=finish_reason,
            usage=Usage(prompt.tokens, prompt.image_tokens, len(token_ids)),
            queue_ms=(began - arrived) * 1e3,
            generate_ms=(time.perf_counter() - began) * 1e3,
        )


def _work(jobs: _Jobs) -> None:
    """What the thread does. It holds no engine while it waits: one that nobody else holds can go."""
    while (job := jobs.get()) is not None:
        job.engine.run(job.request, job.future, job.arrived)
        del job


def searching(decoding: Decoding, eos_token_ids: tuple[int, ...]) -> GenerationConfig:
    """The whole of what ``generate`` is to do: what a model's own config sets besides is nobody's wish here."""
    beams = {"length_penalty": decoding.length_penalty, "early_stopping": decoding.early_stopping}
    return GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        num_beams=decoding.beam_width,
        eos_token_id=list(eos_token_ids),
        pad_token_id=eos_token_ids[0],
        **(beams if decoding.beam_width > 1 else {}),
    )
