"""The row engine: a thread that steps its batch for as long as anybody waits, and sleeps otherwise."""

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from queue import Empty, SimpleQueue

import torch

from deployments.errors import Overloaded, QuestionTooLong
from deployments.model.engine import Answering, Clock, EngineRequest, Generation
from deployments.model.family import Family, Glm
from deployments.model.health import ended, ending
from deployments.model.loading import Loaded
from deployments.model.rows.batch import Batch
from deployments.model.rows.beams import Greedy
from deployments.model.rows.sequence import Sequence
from deployments.model.settings import RowSettings

logger = logging.getLogger("ray.serve")

STUCK_AFTER_S = 60.0


class RowEngine:
    """Serves up to ``settings.rows`` hypotheses at a time."""

    def __init__(
        self,
        loaded: Loaded,
        settings: RowSettings | None = None,
        clock: Clock = time.time,
        family: Family | None = None,
    ) -> None:
        self._loaded, self._settings = loaded, settings or RowSettings()
        self.batch = Batch(loaded, family or Glm(loaded.model, loaded.layout), self._settings, clock)
        self._inbox: SimpleQueue[Sequence | None] = SimpleQueue()
        self._ids = count()
        self._gate = threading.Lock()  # nothing comes in once the engine has begun to end
        self._closed = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="row-engine", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest) -> Future[Generation]:
        sequence = begun(next(self._ids), request, self._loaded, self._settings)
        with self._gate:
            if self._closed:
                raise ending()
            if not any(self.load()):
                self._beat = time.monotonic()  # it has slept, and is not stuck
            if self.load()[1] >= self._settings.waiting:
                raise Overloaded(f"{self._settings.waiting} requests wait here already: try again later")
            self._inbox.put(sequence)
        return sequence.future

    def load(self) -> tuple[int, int]:
        running, waiting = self.batch.load()
        return running, waiting + self._inbox.qsize()

    def check(self) -> None:
        self.batch.health.check()
        if not self._thread.is_alive():
            raise RuntimeError("the engine's thread has died")
        if any(self.load()) and time.monotonic() - self._beat > STUCK_AFTER_S:
            raise RuntimeError(f"the engine has not finished a step for {STUCK_AFTER_S:.0f} s")

    def close(self) -> None:
        """Finish what has rows, refuse what waits."""
        with self._gate:
            self._closed = True
            self._inbox.put(None)
        self._thread.join(timeout=60)

    @torch.inference_mode()
    def _work(self) -> None:
        try:
            while self._take_in():
                self._beat = time.monotonic()
                self.batch.step()
        except BaseException as fault:
            logger.error("the row engine ends", exc_info=fault)
            self._end(fault)

    def _end(self, fault: BaseException) -> None:
        """Fail what is here, in a way that has it asked again elsewhere."""
        self.batch.health.ended_by = fault
        with self._gate:
            self._closed = True
        while not self._inbox.empty():
            if (sequence := self._inbox.get()) is not None:
                self.batch.waiting.append(sequence)
        self.batch.fail_all(ended())

    def _take_in(self) -> bool:
        """Hand what has arrived to the batch, waiting while there is nothing to do. False when closed and done."""
        try:
            while True:
                idle = not any(self.batch.load()) and not self._closed
                sequence = self._inbox.get(block=idle)
                if sequence is not None:
                    self.batch.waiting.append(sequence)
        except Empty:
            if self._closed:
                self.batch.refuse_waiting()
            return any(self.batch.load()) or not self._closed


def begun(number: int, request: EngineRequest, loaded: Loaded, settings: RowSettings) -> Sequence:
    """The request as a sequence, within the length of a row. Raises QuestionTooLong when not even its prompt fits."""
    decoding, tokens = request.decoding, request.prompt.tokens
    if tokens >= settings.length:
        raise QuestionTooLong(
            f"picture and words together have {tokens} tokens, more than the {settings.length - 1} that the "
            "model takes here: send a smaller picture, or fewer words"
        )
    decoding = replace(
        decoding,
        max_new_tokens=min(decoding.max_new_tokens, settings.length - tokens),
        beam_width=min(decoding.beam_width, settings.rows),
    )
    search = Greedy(decoding, loaded.eos_token_ids)
    return Sequence(number, replace(request, decoding=decoding), Answering(), time.perf_counter(), search)
