"""The row engine: one thread that admits, prefills and decodes, step by step, for as long as anybody waits."""

import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace
from itertools import count
from queue import Empty, SimpleQueue

import torch

from deployments.contract import Level, Usage
from deployments.errors import DeadlineExceeded
from deployments.model.engine import Clock, EngineRequest, Generation
from deployments.model.family import Glm
from deployments.model.loading import Loaded
from deployments.model.rows import decode
from deployments.model.rows.beams import Beams, Greedy, token_ids
from deployments.model.rows.cache import RowCache
from deployments.model.rows.decode import Proposals
from deployments.model.rows.prefill import Prefiller
from deployments.model.rows.scheduler import Running, Waiting, plan
from deployments.model.rows.sequence import Answering, Sequence
from deployments.model.rows.store import TensorStore
from deployments.model.settings import RowSettings

STUCK_AFTER_S = 60.0


class RowEngine:
    """Serves up to ``settings.rows`` hypotheses at a time."""

    def __init__(self, loaded: Loaded, settings: RowSettings | None = None, clock: Clock = time.time) -> None:
        self._settings = settings = settings or RowSettings()
        self._loaded, self._clock = loaded, clock
        self._family = Glm(loaded.model, loaded.layout)
        self._cache = RowCache(self._family.kv_shape, settings.rows, settings.length, loaded.dtype, loaded.device)
        self._prefiller = Prefiller(
            self._family,
            self._cache,
            features=TensorStore(settings.feature_store_mb * 2**20),
            prefixes=TensorStore(settings.prefix_store_mb * 2**20),
            chunk=settings.prefill_tokens,
        )
        self._inbox: SimpleQueue[Sequence | None] = SimpleQueue()
        self._ids = count()
        self._waiting: deque[Sequence] = deque()
        self._prefilling: list[Sequence] = []
        self._decoding: list[Sequence] = []
        self._free = list(range(settings.rows))
        self._closed = False
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

    def close(self) -> None:
        """Finish what has rows, cancel what waits."""
        self._closed = True
        self._inbox.put(None)
        self._thread.join(timeout=60)

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
        while self._take_in():
            self._beat = time.monotonic()
            self._drop_abandoned()
            self._make_room()
            proposals = self._prefill() | self._decode()
            self._advance(proposals)

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
            Waiting(s.id, s.request.decoding.beam_width, s.request.prompt.tokens, collapsible=self._settings.collapse)
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
        if admitted:
            self._prefiller.begin(admitted)
            self._prefilling += admitted

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
        if sequence.search.done:
            self._decoding.remove(sequence)
            self._finish(sequence)

    def _prefill(self) -> Proposals:
        if not self._prefilling:
            return {}
        return self._prefiller.run(self._prefilling)

    def _decode(self) -> Proposals:
        if not self._decoding:
            return {}
        return decode.step(self._family, self._cache, self._decoding, self._settings.bucket)

    def _advance(self, proposals: Proposals) -> None:
        """Extend every search by what was proposed for it, and finish those that are done."""
        begun = [sequence for sequence in self._prefilling if sequence.id in proposals]
        self._prefilling = [sequence for sequence in self._prefilling if sequence.id not in proposals]
        self._decoding += begun
        for sequence in list(self._decoding):
            proposed, search = proposals[sequence.id], sequence.search
            if isinstance(search, Beams):
                assert not isinstance(proposed, int)
                sources = [sequence.rows[source] for source in search.extend(proposed)]
                if not search.done:
                    begin = sequence.request.prompt.tokens
                    self._cache.reorder(sequence.rows, sources, begin, sequence.length)
            elif search is not None:
                assert isinstance(proposed, int)
                search.extend(proposed)
            if search is not None and search.done:
                self._decoding.remove(sequence)
                self._finish(sequence)

    def _finish(self, sequence: Sequence) -> None:
        search, prompt, now = sequence.search, sequence.request.prompt, time.perf_counter()
        assert search is not None
        ids = token_ids(search.best)
        stopped = bool(ids) and ids[-1] in self._loaded.eos_token_ids
        ids = ids[:-1] if stopped else ids
        self._release(sequence)
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
