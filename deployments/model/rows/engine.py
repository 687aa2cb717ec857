"""The row engine: one thread that admits, prefills and decodes, step by step, for as long as anybody waits."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace
from itertools import count
from queue import Empty, SimpleQueue

import torch

from deployments.contract import Level, Usage
from deployments.errors import DeadlineExceeded, Overloaded
from deployments.model.engine import Clock, EngineRequest, Generation
from deployments.model.family import Family, Glm
from deployments.model.loading import Loaded
from deployments.model.rows import decode
from deployments.model.rows.beams import Beams, Candidate, Greedy, token_ids
from deployments.model.rows.cache import RowCache
from deployments.model.rows.decode import EagerForward, Forward, Proposals
from deployments.model.rows.graphs import GraphedForward
from deployments.model.rows.prefill import Prefiller
from deployments.model.rows.scheduler import Running, Waiting, plan
from deployments.model.rows.sequence import Answering, Sequence
from deployments.model.rows.store import TensorStore
from deployments.model.settings import RowSettings

logger = logging.getLogger("ray.serve")

STUCK_AFTER_S = 60.0
MOST_FAILURES = 5
"""So many requests that failed one after the other, with no answer between them: the device is gone."""

Work = Callable[[Ordered[Sequence]], Proposals]


class RowEngine:
    """Serves up to ``settings.rows`` hypotheses at a time."""

    def __init__(
        self,
        loaded: Loaded,
        settings: RowSettings | None = None,
        clock: Clock = time.time,
        family: Family | None = None,
    ) -> None:
        self._settings = settings = settings or RowSettings()
        self._loaded, self._clock = loaded, clock
        self._family = family or Glm(loaded.model, loaded.layout)
        self._cache = RowCache(self._family.kv_shape, settings.rows, settings.length, loaded.dtype, loaded.device)
        self._prefiller = Prefiller(
            self._family,
            self._cache,
            features=TensorStore(settings.feature_store_mb * 2**20),
            prefixes=TensorStore(settings.prefix_store_mb * 2**20),
            chunk=settings.prefill_tokens,
        )
        self._forward = self._decode_forward()
        self._inbox: SimpleQueue[Sequence | None] = SimpleQueue()
        self._ids = count()
        self._waiting: deque[Sequence] = deque()
        self._prefilling: list[Sequence] = []
        self._decoding: list[Sequence] = []
        self._free = list(range(settings.rows))
        self._closed = False
        self.memory_errors = 0
        self._failures = 0
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="row-engine", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest) -> Future[Generation]:
        if self._closed:
            raise RuntimeError("the engine is closed")
        request = self._fitted(request)
        future = Answering()
        self._inbox.put(Sequence(next(self._ids), request, future, time.perf_counter()))
        return future

    def load(self) -> tuple[int, int]:
        return len(self._decoding) + len(self._prefilling), len(self._waiting) + self._inbox.qsize()

    def check(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the engine's thread has died")
        if any(self.load()) and time.monotonic() - self._beat > STUCK_AFTER_S:
            raise RuntimeError(f"the engine has not finished a step for {STUCK_AFTER_S:.0f} s")

        if self._failures >= MOST_FAILURES:
            raise RuntimeError(f"{self._failures} requests have failed one after the other")

    def close(self) -> None:
        """Finish what has rows, cancel what waits."""
        self._closed = True
        self._inbox.put(None)
        self._thread.join(timeout=60)

    @torch.inference_mode()
    def _decode_forward(self) -> Forward:
        eager = EagerForward(self._family, self._cache)
        if self._loaded.device.type != "cuda" or not self._settings.cuda_graphs:
            return eager
        graphed = GraphedForward(eager, self._cache, self._settings.bucket)
        graphed.capture()
        return graphed

    def _fitted(self, request: EngineRequest) -> EngineRequest:
        """The request within the length of a row. Raises ValueError when not even its prompt fits."""
        room = self._settings.length - request.prompt.tokens
        if room < 1:
            raise ValueError(
                f"the prompt has {request.prompt.tokens} tokens, a row of the engine {self._settings.length}: send a "
                "smaller picture or a shorter question, or raise args.model.rows.length"
            )
        decoding = request.decoding
        width = min(decoding.beam_width, self._settings.rows)
        return replace(
            request,
            decoding=replace(decoding, max_new_tokens=min(decoding.max_new_tokens, room), beam_width=width),
        )

    @torch.inference_mode()
    def _work(self) -> None:
        try:
            while self._take_in():
                self._step()
        except BaseException as fault:
            for sequence in (*self._waiting, *self._prefilling, *self._decoding):
                self._fail(sequence, fault)
            raise

    def _step(self) -> None:
        """Who leaves, who comes, and one token more for everybody else."""
        self._beat = time.monotonic()
        self._drop_abandoned()
        self._make_room()
        self._advance(self._prefill() | self._decode())

    def _cancel_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().future.cancel()

    def _take_in(self) -> bool:
        """Everything that has arrived; waits while there is nothing to do. False when closed and done."""
        busy = bool(self._prefilling or self._decoding)
        try:
            while True:
                idle = not busy and not self._waiting and not self._closed
                arrived = self._inbox.get(block=idle)
                if arrived is not None:
                    self._waiting.append(arrived)
        except Empty:
            if self._closed:
                self._cancel_waiting()
            return busy or not self._closed

    def _drop_abandoned(self) -> None:
        """Forget those that nobody waits for any more, and those that have missed their deadline."""
        now = self._clock()
        for group in (self._waiting, self._prefilling, self._decoding):
            for sequence in list(group):
                if sequence.future.abandoned.is_set():
                    group.remove(sequence)
                    self._release(sequence)
                elif now >= sequence.request.deadline:
                    group.remove(sequence)
                    self._fail(sequence, DeadlineExceeded("the deadline passed: ask again, or allow it more time"))

    def _make_room(self) -> None:
        """Carry out the scheduler's plan: first the collapses, then the admissions."""
        asked = [
            Waiting(
                s.id,
                s.request.decoding.beam_width,
                s.request.prompt.tokens,
                s.request.priority,
                self._settings.collapse,
            )
            for s in self._waiting
        ]
        held = [Running(s.id, len(s.rows), s.generated, self._settings.collapse) for s in self._decoding]
        decided = plan(len(self._free), asked, held, self._settings.prefill_tokens)
        for sequence in [s for s in self._decoding if s.id in decided.collapse]:
            self._collapse(sequence)
        widths = dict(decided.admit)
        admitted = [sequence for sequence in self._waiting if sequence.id in widths]
        for sequence in admitted:
            self._waiting.remove(sequence)
            self._admit(sequence, widths[sequence.id])
        self._prefilling += admitted
        if admitted:
            self._isolated(self._begin, admitted)

    def _admit(self, sequence: Sequence, width: int) -> None:
        self._free.sort()
        sequence.rows, self._free = self._free[:width], self._free[width:]
        sequence.admitted = time.perf_counter()
        decoding, eos = sequence.request.decoding, self._loaded.eos_token_ids
        sequence.search = Beams(decoding, eos) if width > 1 else Greedy(decoding, eos)

    def _collapse(self, sequence: Sequence) -> None:
        """Keep a beam search's best hypothesis and give its other rows back."""
        assert isinstance(sequence.search, Beams)
        sequence.search = sequence.search.collapse()
        self._free += sequence.rows[1:]
        sequence.rows = sequence.rows[:1]
        self._tell(sequence)
        if sequence.search.done:
            self._decoding.remove(sequence)
            self._finish(sequence)

    def _prefill(self) -> Proposals:
        proposals: Proposals = {}
        for group in self._prefiller.groups(self._prefilling):
            proposals |= self._isolated(self._prefiller.run, group)
        return proposals

    def _decode(self) -> Proposals:
        return self._isolated(self._feed, self._decoding) if self._decoding else {}

    def _begin(self, admitted: Ordered[Sequence]) -> Proposals:
        self._prefiller.begin(admitted)
        return {}

    def _feed(self, running: Ordered[Sequence]) -> Proposals:
        return decode.step(self._forward, self._cache, running, self._settings.bucket)

    def _isolated(self, work: Work, sequences: Ordered[Sequence]) -> Proposals:
        """Do it for all of them together; if that fails, for each by itself, so that only the guilty one fails."""
        try:
            return work(sequences)
        except Exception as fault:
            logger.warning("a step of %d requests failed, each is tried by itself: %r", len(sequences), fault)
            if isinstance(fault, torch.OutOfMemoryError):
                self._free_memory()
        proposals: Proposals = {}
        for sequence in list(sequences):
            proposals |= self._alone(work, sequence)
        return proposals

    def _alone(self, work: Work, sequence: Sequence) -> Proposals:
        """Do it for one. Out of memory, it is tried once more without its beams and without what the stores hold."""
        try:
            try:
                return work([sequence])
            except torch.OutOfMemoryError:
                self._free_memory()
                self._narrow(sequence)
                return work([sequence]) if sequence.rows else {}
        except torch.OutOfMemoryError:
            self._drop(sequence, Overloaded("the model is out of memory: send a smaller picture, or try again later"))
        except Exception as fault:
            self._failures += 1
            self._drop(sequence, fault)
        return {}

    def _free_memory(self) -> None:
        self.memory_errors += 1
        self._prefiller.prefixes.clear()
        self._prefiller.features.clear()
        if self._loaded.device.type == "cuda":
            torch.cuda.empty_cache()

    def _narrow(self, sequence: Sequence) -> None:
        if isinstance(sequence.search, Beams):
            self._collapse(sequence)

    def _advance(self, proposals: Proposals) -> None:
        """Extend every search by what was proposed for it, and finish those that are done."""
        begun = [sequence for sequence in self._prefilling if sequence.id in proposals]
        self._prefilling = [sequence for sequence in self._prefilling if sequence.id not in proposals]
        self._decoding += begun
        for sequence in [sequence for sequence in self._decoding if sequence.id in proposals]:
            self._extend(sequence, proposals[sequence.id])
            assert sequence.search is not None
            if sequence.search.done:
                self._decoding.remove(sequence)
                self._finish(sequence)

    def _extend(self, sequence: Sequence, proposed: int | list[Candidate]) -> None:
        search = sequence.search
        if isinstance(search, Beams):
            assert not isinstance(proposed, int)
            sources = [sequence.rows[source] for source in search.extend(proposed)]
            if not search.done:
                self._cache.reorder(sequence.rows, sources, sequence.request.prompt.tokens, sequence.length)
        elif search is not None:
            assert isinstance(proposed, int)
            search.extend(proposed)
            self._tell(sequence)

    def _tell(self, sequence: Sequence) -> None:
        """Pass on what is new in a greedy search's answer, to whoever listens."""
        listener, search = sequence.request.on_tokens, sequence.search
        if listener is None or search is None:
            return
        ids = token_ids(search.best)[sequence.told :]
        sequence.told += len(ids)
        ids = tuple(token for token in ids if token not in self._loaded.eos_token_ids)
        if ids:
            listener(ids)

    def _finish(self, sequence: Sequence) -> None:
        search, prompt, now = sequence.search, sequence.request.prompt, time.perf_counter()
        assert search is not None
        ids = token_ids(search.best)
        stopped = bool(ids) and ids[-1] in self._loaded.eos_token_ids
        ids = ids[:-1] if stopped else ids
        self._release(sequence)
        self._failures = 0
        _resolve(
            sequence.future,
            Generation(
                token_ids=ids,
                text=self._loaded.tokenizer.decode(ids, skip_special_tokens=True),
                level=Level.FULL if isinstance(search, Beams) else Level.FAST,
                finish_reason="stop" if stopped else "length",
                usage=Usage(prompt.tokens, prompt.image_tokens, len(ids)),
                queue_ms=(sequence.admitted - sequence.arrived) * 1e3,
                generate_ms=(now - sequence.admitted) * 1e3,
            ),
        )

    def _release(self, sequence: Sequence) -> None:
        self._free += sequence.rows
        sequence.rows = []

    def _drop(self, sequence: Sequence, fault: BaseException) -> None:
        """A running sequence cannot go on."""
        for group in (self._prefilling, self._decoding):
            if sequence in group:
                group.remove(sequence)
        self._fail(sequence, fault)

    def _fail(self, sequence: Sequence, fault: BaseException) -> None:
        self._release(sequence)
        _resolve(sequence.future, fault)


def _resolve(future: Answering, outcome: Generation | BaseException) -> None:
    """Tell whoever waits; somebody who has just cancelled does not."""
    try:
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        pass
