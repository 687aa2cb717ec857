"""The reference engine: ``model.generate``, one request at a time. Simple and exact, the yardstick of faster ones."""

import threading
import time
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from types import MethodType
from typing import Any

import torch
from transformers import GenerationMixin, StoppingCriteria, StoppingCriteriaList

from deployments.contract import FinishReason, Level, Usage
from deployments.errors import DeadlineExceeded, Unavailable
from deployments.model.engine import Answering, Clock, EngineRequest, Generation
from deployments.model.loading import Loaded
from deployments.model.pixels import patchify

_Job = tuple[EngineRequest, Answering, float]


class _Stop(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Ends generation at the next step when nobody waits any more."""

    def __init__(self, future: Answering, deadline: float, clock: Clock) -> None:
        self._future, self._deadline, self._clock = future, deadline, clock

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        stop = self._future.abandoned.is_set() or self._clock() >= self._deadline
        return torch.full((input_ids.shape[0],), stop, dtype=torch.bool, device=input_ids.device)


class ReferenceEngine:
    """First come, first served, on one thread of its own."""

    def __init__(self, loaded: Loaded, clock: Clock = time.time) -> None:
        self._loaded, self._clock = loaded, clock
        # GLM's own version gives the beams of a request with several pictures each other's (transformers 5.23).
        loaded.model._expand_multimodal_outputs = MethodType(GenerationMixin._expand_multimodal_outputs, loaded.model)
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._running = False
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="reference-engine", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest) -> Future[Generation]:
        if self._closed:
            raise Unavailable("this replica is ending: ask again")
        future = Answering()
        self._queue.put((request, future, time.perf_counter()))
        return future

    def load(self) -> tuple[int, int]:
        return int(self._running), self._queue.qsize()

    def check(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the engine's thread has died")

    def close(self) -> None:
        """Finish the running request, cancel the waiting ones."""
        self._closed = True
        self._queue.put(None)
        self._thread.join(timeout=60)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if self._closed:
                job[1].cancel()
            else:
                self._run(*job)

    def _run(self, request: EngineRequest, future: Answering, arrived: float) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self._running = True
        try:
            if self._clock() >= request.deadline:
                raise DeadlineExceeded("the request waited past its deadline: ask again, or allow it more time")
            future.resolve(self._generate(request, future, arrived))
        except BaseException as fault:
            future.resolve(fault)
        finally:
            self._running = False

    @torch.inference_mode()
    def _generate(self, request: EngineRequest, future: Answering, arrived: float) -> Generation:
        began = time.perf_counter()
        loaded, decoding, prompt = self._loaded, request.decoding, request.prompt
        inputs: dict[str, Any] = {
            "input_ids": prompt.input_ids.to(loaded.device),
            "attention_mask": torch.ones_like(prompt.input_ids, device=loaded.device),
        }
        if request.pictures:
            inputs["mm_token_type_ids"] = prompt.mm_token_type_ids.to(loaded.device)
            inputs["pixel_values"], inputs["image_grid_thw"] = patchify(request.pictures, loaded.layout, loaded.device)
        output = loaded.model.generate(
            **inputs,
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            num_beams=decoding.beam_width,
            length_penalty=decoding.length_penalty if decoding.beam_width > 1 else None,
            early_stopping=decoding.early_stopping if decoding.beam_width > 1 else None,
            eos_token_id=list(loaded.eos_token_ids),
            pad_token_id=loaded.eos_token_ids[0],
            stopping_criteria=StoppingCriteriaList([_Stop(future, request.deadline, self._clock)]),
        )
        if future.abandoned.is_set():
            raise CancelledError
        if self._clock() >= request.deadline:
            raise DeadlineExceeded(
                "the answer took longer than the request's deadline: ask again, or allow it more time"
            )
        token_ids, finish_reason = _until_end(output[0, prompt.tokens :].tolist(), loaded.eos_token_ids)
        return Generation(
            token_ids=token_ids,
            text=loaded.tokenizer.decode(token_ids, skip_special_tokens=True),
            level=Level.FULL if decoding.beam_width > 1 else Level.FAST,
            finish_reason=finish_reason,
            usage=Usage(prompt.tokens, prompt.image_tokens, len(token_ids)),
            queue_ms=(began - arrived) * 1e3,
            generate_ms=(time.perf_counter() - began) * 1e3,
        )


def _until_end(token_ids: list[int], eos_token_ids: tuple[int, ...]) -> tuple[tuple[int, ...], FinishReason]:
    """The ids before the first end token, and whether there was one."""
    for position, token_id in enumerate(token_ids):
        if token_id in eos_token_ids:
            return tuple(token_ids[:position]), "stop"
    return tuple(token_ids), "length"
