"""The requests that share the rows, and what one step does to them: who leaves, who comes, one token more for the rest.

What goes wrong stays with its request: work on several that fails is done again for each by itself. A device that fails
is nobody's fault: it ends the step for all.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Ordered

import torch

from deployments.contract import Level, Usage
from deployments.errors import DeadlineExceeded
from deployments.model.engine import Clock, Generation
from deployments.model.family import Family
from deployments.model.faults import is_device_fault, is_out_of_memory
from deployments.model.health import Health, ending
from deployments.model.loading import Loaded
from deployments.model.rows import decode
from deployments.model.rows.beams import Beams, token_ids
from deployments.model.rows.cache import RowCache
from deployments.model.rows.decode import EagerForward, Forward, Proposals
from deployments.model.rows.graphs import GraphedForward
from deployments.model.rows.prefill import Prefiller
from deployments.model.rows.scheduler import Running, Waiting, plan
from deployments.model.rows.sequence import Sequence
from deployments.model.rows.store import TensorStore
from deployments.model.settings import RowSettings

logger = logging.getLogger("ray.serve")

Work = Callable[[Ordered[Sequence]], Proposals]


class Batch:
    """``waiting`` have no rows yet, ``prefilling`` and ``decoding`` share them with the ``free`` ones.

    ``memory_errors`` counts what ran out of memory.
    """

    def __init__(self, loaded: Loaded, family: Family, settings: RowSettings, clock: Clock) -> None:
        self._loaded, self._settings, self._clock = loaded, settings, clock
        self.cache = RowCache(family.kv_shape, settings.rows, settings.length, loaded.dtype, loaded.device)
        self.prefiller = Prefiller(
            family,
            self.cache,
            features=TensorStore(settings.feature_store_mb * 2**20),
            prefixes=TensorStore(settings.prefix_store_mb * 2**20),
            chunk=settings.prefill_tokens,
        )
        self.forward = _forward(family, self.cache, settings)
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.decoding: list[Sequence] = []
        self.free = list(range(settings.rows))
        self.memory_errors = 0
        self.health = Health(loaded.device)

    def load(self) -> tuple[int, int]:
        """(running, waiting) requests."""
        return len(self.prefilling) + len(self.decoding), len(self.waiting)

    def step(self) -> None:
        """Raises what the device fails with."""
        self._drop_abandoned()
        self._make_room()
        self._extend(self._prefill() | self._decode())

    def refuse_waiting(self) -> None:
        """Nobody of them has asked for an end: another replica answers them."""
        while self.waiting:
            self.waiting.popleft().future.resolve(ending())

    def fail_all(self, fault: BaseException) -> None:
        for sequence in (*self.waiting, *self.prefilling, *self.decoding):
            self._fail(sequence, fault)

    def collapse(self, sequence: Sequence) -> None:
        """Keep a beam search's best hypothesis and give its other rows back; it goes on greedily."""
        if isinstance(sequence.search, Beams):
            sequence.search = sequence.search.collapse()
            self.free += sequence.rows[1:]
            sequence.rows = sequence.rows[:1]
            self._tell(sequence)
            self._finish_if_done(sequence)

    def _drop_abandoned(self) -> None:
        """Forget those that nobody waits for any more, and those that have missed their deadline."""
        now = self._clock()
        for sequence in (*self.waiting, *self.prefilling, *self.decoding):
            if sequence.future.abandoned.is_set():
                self._release(sequence)
            elif now >= sequence.request.deadline:
                self._fail(sequence, DeadlineExceeded("the deadline passed: ask again, or allow it more time"))

    def _make_room(self) -> None:
        """Carry out the scheduler's plan: first the collapses, then the admissions."""
        may_collapse, asked = self._settings.collapse, [(s.id, s.request) for s in self.waiting]
        decided = plan(
            free=len(self.free),
            waiting=[
                Waiting(number, request.decoding.beam_width, request.prompt.tokens, request.priority, may_collapse)
                for number, request in asked
            ],
            running=[Running(s.id, len(s.rows), s.search.generated, may_collapse) for s in self.decoding],
            prefill_tokens=self._settings.prefill_tokens,
        )
        for sequence in [s for s in self.decoding if s.id in decided.collapse]:
            self.collapse(sequence)
        widths = dict(decided.admit)
        admitted = [sequence for sequence in self.waiting if sequence.id in widths]
        for sequence in admitted:
            self._admit(sequence, widths[sequence.id])
        if admitted:
            self._isolated(self._begin, admitted)

    def _admit(self, sequence: Sequence, width: int) -> None:
        self.waiting.remove(sequence)
        self.prefilling.append(sequence)
        self.free.sort()  # the lowest rows first: a step runs all rows up to the highest in use
        sequence.rows, self.free = self.free[:width], self.free[width:]
        sequence.admitted = time.perf_counter()
        if width > 1:
            sequence.search = Beams(sequence.request.decoding, self._loaded.eos_token_ids)

    def _prefill(self) -> Proposals:
        proposals: Proposals = {}
        for group in self.prefiller.groups(self.prefilling):
            proposals |= self._isolated(self.prefiller.run, group)
        return proposals

    def _decode(self) -> Proposals:
        return self._isolated(self._feed, self.decoding) if self.decoding else {}

    def _begin(self, admitted: Ordered[Sequence]) -> Proposals:
        self.prefiller.begin(admitted)
        return {}

    def _feed(self, running: Ordered[Sequence]) -> Proposals:
        return decode.step(self.forward, self.cache, running, self._settings.bucket)

    def _extend(self, proposals: Proposals) -> None:
        """Go on with every search by what was proposed for it; those whose prompt is complete join the decoding."""
        self.decoding += [sequence for sequence in self.prefilling if sequence.id in proposals]
        self.prefilling = [sequence for sequence in self.prefilling if sequence.id not in proposals]
        for sequence in [sequence for sequence in self.decoding if sequence.id in proposals]:
            sources = sequence.search.extend(proposals[sequence.id])
            if not sequence.search.done:
                origins = [sequence.rows[source] for source in sources]
                self.cache.reorder(sequence.rows, origins, sequence.request.prompt.tokens, sequence.length)
            self._tell(sequence)
            self._finish_if_done(sequence)

    def _tell(self, sequence: Sequence) -> None:
        """Pass on what is new in an answer that can only grow, to whoever listens."""
        listener = sequence.request.on_tokens
        if listener is None or isinstance(sequence.search, Beams):
            return
        ids = token_ids(sequence.search.best)[sequence.told :]
        sequence.told += len(ids)
        ids = tuple(token for token in ids if token not in self._loaded.eos_token_ids)
        if ids:
            listener(ids)

    def _finish_if_done(self, sequence: Sequence) -> None:
        search, prompt, now = sequence.search, sequence.request.prompt, time.perf_counter()
        if not search.done:
            return
        ids = token_ids(search.best)
        stopped = bool(ids) and ids[-1] in self._loaded.eos_token_ids
        ids = ids[:-1] if stopped else ids
        self._release(sequence)
        self.health.answered()
        sequence.future.resolve(
            Generation(
                token_ids=ids,
                text=self._loaded.tokenizer.decode(ids, skip_special_tokens=True),
                level=Level.FULL if isinstance(search, Beams) else Level.FAST,
                finish_reason="stop" if stopped else "length",
                usage=Usage(prompt.tokens, prompt.image_tokens, len(ids)),
                queue_ms=(sequence.admitted - sequence.arrived) * 1e3,
                generate_ms=(now - sequence.admitted) * 1e3,
            )
        )

    def _release(self, sequence: Sequence) -> None:
        """Take it out and give its rows back."""
        for group in (self.waiting, self.prefilling, self.decoding):
            if sequence in group:
                group.remove(sequence)
        self.free += sequence.rows
        sequence.rows = []

    def _fail(self, sequence: Sequence, fault: BaseException) -> None:
        self._release(sequence)
        sequence.future.resolve(fault)

    def _isolated(self, work: Work, sequences: Ordered[Sequence]) -> Proposals:
        """Do it for all of them together; if that fails, for each by itself, so that only the guilty one fails.

        Raises what the device fails with: no request is guilty of it, and none can be tried again here.
        """
        try:
            return work(sequences)
        except Exception as fault:
            if is_device_fault(fault):
                raise
            logger.warning("a step of %d requests failed, each is tried by itself: %r", len(sequences), fault)
            if is_out_of_memory(fault):
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
            except Exception as fault:
                if not is_out_of_memory(fault):
                    raise
                self._free_memory()
                self.collapse(sequence)
                return work([sequence]) if sequence.rows else {}
        except Exception as fault:
            if is_device_fault(fault):
                raise
            self._fail(sequence, self.health.failed(fault))
        return {}

    def _free_memory(self) -> None:
        self.memory_errors += 1
        self.prefiller.prefixes.clear()
        self.prefiller.features.clear()
        if self._loaded.device.type == "cuda":
            torch.cuda.empty_cache()


@torch.inference_mode()
def _forward(family: Family, cache: RowCache, settings: RowSettings) -> Forward:
    """The decode forward, on a GPU as graphs if the settings say so."""
    eager = EagerForward(family, cache)
    if cache.kv.device.type != "cuda" or not settings.cuda_graphs:
        return eager
    graphed = GraphedForward(eager, cache, settings.bucket)
    graphed.capture()
    return graphed
