"""The shipped graph with a model that takes time instead of computing; ``build`` is for a config's ``import_path``."""

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ray import serve

from benchmarks.autoscaling import ANSWER_S, FULL_ROWS, ROWS
from benchmarks.overhead.instant import INFO
from deployments.contract import Level, Usage
from deployments.knobs import LiveKnobs
from deployments.model import deployment
from deployments.model.engine import Generation
from deployments.model.gate import ANYBODY, Gate, Let
from deployments.model.settings import ModelKnobs, ModelSettings
from serve_app import graph
from serve_app.settings import AppSettings


@dataclass(slots=True)
class Waiting:
    future: "Future[Generation]"
    rows: int
    arrived: float
    began: float = 0.0


@dataclass(slots=True)
class SlowEngine:
    """Answers take a fixed time, and rows."""

    free: int = ROWS
    waiting: deque[Waiting] = field(default_factory=deque)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, rows: int) -> "Future[Generation]":
        one = Waiting(Future(), rows, time.time())
        with self.lock:
            self.waiting.append(one)
            self._begin()
        return one.future

    def load(self) -> tuple[int, int]:
        return ROWS - self.free, len(self.waiting)

    def pressure(self) -> tuple[int, float]:
        waiting = tuple(self.waiting)
        return ROWS - self.free, time.time() - waiting[0].arrived if waiting else 0.0

    def check(self) -> None:
        pass

    def _begin(self) -> None:
        while self.waiting and self.free > 0:
            one = self.waiting.popleft()
            one.rows, one.began = min(one.rows, self.free), time.time()
            self.free -= one.rows
            threading.Timer(ANSWER_S, self._end, [one]).start()

    def _end(self, one: Waiting) -> None:
        level = Level.FULL if one.rows == FULL_ROWS else Level.FAST
        queue_ms, ran_ms = (one.began - one.arrived) * 1e3, (time.time() - one.began) * 1e3
        with self.lock:
            self.free += one.rows
            self._begin()
        one.future.set_result(Generation((), "text", level, "stop", Usage(140, 120, 20), queue_ms, ran_ms))


class SlowModel:
    """As much of a ``VisionModel`` as its deployment needs."""

    def __init__(self) -> None:
        self.engine, self.knobs = SlowEngine(), ModelKnobs()

    def submit(self, *_: Any, let: Let = ANYBODY, **__: Any) -> "Future[Generation]":
        return self.engine.submit(FULL_ROWS if let.beams else 1)

    def answer(self, generation: Generation, knobs: ModelKnobs) -> str:
        return generation.text

    def serving(self, knobs: ModelKnobs) -> str:
        return "slow"

    def gpu_memory_mb(self) -> int:
        return 0

    def info(self) -> Any:
        return INFO

    def close(self) -> None:
        pass


class Model(deployment.Model):
    def __init__(self, settings: ModelSettings) -> None:
        self._knobs = LiveKnobs("Model", ModelKnobs)
        self._model = SlowModel()  # type: ignore[assignment]
        self._gate = Gate(self._model.engine, ROWS, serve.get_replica_context().replica_tag)


def build(settings: AppSettings) -> serve.Application:
    """The shipped graph; only its Model is another one."""
    deployment.Model = Model  # type: ignore[misc]  # the graph's builder imports it from there
    return graph.build(settings)
