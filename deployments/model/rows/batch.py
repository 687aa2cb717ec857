"""The requests that share the rows, and what one step does to them: who leaves, who comes, one token more for the rest.

What goes wrong stays with its request: work on several that fails is done again for each by itself. A device that fails
is nobody's fault: it ends the step for all.
"""

import logging
import time
from bisect import insort_right
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Ordered
from contextlib import contextmanager

import torch

from deployments.contract import Level, Pixels, Usage
from deployments.errors import DeadlineExceeded, Overloaded
from deployments.model.engine import Clock, Generation
from deployments.model.families.family import Family
from deployments.model.faults import is_device_fault, is_out_of_memory
from deployments.model.health import Health, ending
from deployments.model.loading import Loaded
from deployments.model.rows import decode
from deployments.model.rows.beams import Beams, Candidate, token_ids
from deployments.model.rows.cache import RowCache
from deployments.model.rows.decode import EagerForward, Forward, Proposals
from deployments.model.rows.graphs import GraphedForward
from deployments.model.rows.prefill import Prefiller
from deployments.model.rows.scheduler import Running, Waiting, plan
from deployments.model.rows.sequence import Sequence
from deployments.model.rows.sight import Seen
from deployments.model.settings import RowSettings
from deployments.model.stores import TensorStore

logger = logging.getLogger("ray.serve")

Work = Callable[[Ordered[Sequence]], Proposals]
Look = Callable[[bytes, Pixels], None]


class Batch:
    """``waiting`` have no rows yet, ``prefilling`` and ``decoding`` share the first rows; the others are free.

    ``look`` asks for a picture to be seen, whose features come back by ``take``. ``memory_errors`` counts what ran out
    of memory.
    """

    def __init__(self, loaded: Loaded, family: Family, settings: RowSettings, clock: Clock, look: Look) -> None:
        self._loaded, self._settings, self._clock, self._look = loaded, settings, clock, look
        self.cache = RowCache(family.kv_shape, settings.rows, settings.length, loaded.dtype, loaded.device)
        self.features = TensorStore(settings.feature_store_mb * 2**20)
        self.prefiller = Prefiller(family, self.cache, TensorStore(settings.prefix_store_mb * 2**20))
        self.forward = _forward(family, self.cache, settings)
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.decoding: list[Sequence] = []
        self.looking: set[bytes] = set()
        self.memory_errors = 0
        self.health = Health(loaded.device)

    @property
    def free(self) -> int:
        """How many rows nobody holds."""
        return self._settings.rows - sum(len(sequence.rows) for sequence in (*self.prefilling, *self.decoding))

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything but wait for pictures to be seen."""
        return bool(self.prefilling or self.decoding or any(self._is_ready(sequence) for sequence in self.waiting))

    def add(self, sequence: Sequence) -> None:
        insort_right(self.waiting, sequence, key=lambda one: one.request.turn)

    def take(self, seen: Seen) -> None:
        """Features for those that wait for them. Raises what the device fails with."""
        self.looking.discard(seen.key)
        asked = [sequence for sequence in self.waiting if seen.key in sequence.keys]
        if isinstance(seen.outcome, Exception):
            if is_device_fault(seen.outcome):
                raise seen.outcome
            if is_out_of_memory(seen.outcome):
                self._free_memory()
            for sequence in asked:
                self._fail(sequence, self.health.failed(seen.outcome))
            return
        for sequence in asked:
            sequence.features[seen.key] = seen.outcome
            sequence.seeing_s += seen.took_s
        self.features.put(seen.key, seen.outcome)

    def load(self) -> tuple[int, int]:
        """(running, waiting) requests."""
        return len(self.prefilling) + len(self.decoding), len(self.waiting)

    def step(self) -> None:
        """Raises what the device fails with."""
        self._drop_abandoned()
        self._look_ahead()
        self._close_gaps()
        self._make_room()
        decoded = self._decode()
        self._extend(self._prefill() | decoded)

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
            self._give_back(sequence, sequence.rows[1:])
            with self._failing_alone(sequence):
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
            elif not sequence.rows and now >= sequence.request.begin_by:
                self._fail(sequence, Overloaded("the answer would come too late: ask again"))

    def _look_ahead(self) -> None:
        """Have the pictures seen of those that come next, as many tokens of them as a step has."""
        room = self._settings.prefill_tokens
        for sequence in sorted(self.waiting, key=lambda sequence: -sequence.request.priority):
            pictures = zip(sequence.keys, sequence.request.pictures, strict=True)
            for key, picture in () if self._is_ready(sequence) else pictures:
                if key not in sequence.features and key not in self.features and key not in self.looking:
                    self.looking.add(key)
                    self._look(key, picture)
            room -= sequence.request.prompt.image_tokens
            if room <= 0:
                return

    def _is_ready(self, sequence: Sequence) -> bool:
        """Whether all that its prefill needs is known."""
        if sequence.prefix and sequence.prefix in self.prefiller.prefixes:
            return True
        return all(key in sequence.features or key in self.features for key in sequence.keys)

    def _close_gaps(self) -> None:
        """Move the highest rows into gaps below them: a step costs what its rows are, not where they are."""
        held = {row: (s, i) for s in (*self.prefilling, *self.decoding) for i, row in enumerate(s.rows)}
        gaps = [row for row in range(len(held)) if row not in held]
        for gap, row in zip(gaps, sorted((row for row in held if row >= len(held)), reverse=True), strict=True):
            sequence, index = held[row]
            self.cache.move(row, gap, sequence.written)
            sequence.rows[index] = gap

    def _make_room(self) -> None:
        """Carry out the scheduler's plan: first the collapses, then the admissions."""
        room = self._room - sum(sequence.missing for sequence in self.prefilling)
        if not self.waiting or room <= 0:
            return
        may_collapse = self._settings.collapse
        decided = plan(
            free=self.free,
            waiting=[
                Waiting(
                    s.id, s.request.decoding.beam_width, self._cost(s), s.request.priority, may_collapse,
                    self._is_ready(s),
                )
                for s in self.waiting
            ],
            running=[Running(s.id, len(s.rows), s.search.generated, may_collapse) for s in self.decoding],
            prefill_tokens=room,
        )  # fmt: skip
        for sequence in [s for s in self.decoding if s.id in decided.collapse]:
            self.collapse(sequence)
        if decided.collapse:
            self._close_gaps()
        widths = dict(decided.admit)
        for sequence in [sequence for sequence in self.waiting if sequence.id in widths]:
            if self._is_ready(sequence):  # still: somebody admitted before it may have needed the stores' memory
                self._admit(sequence, widths[sequence.id])

    @property
    def _room(self) -> int:
        """Prompt tokens that a step has room for beside the rows that decode."""
        return self._settings.prefill_tokens - sum(len(sequence.rows) for sequence in self.decoding)

    def _cost(self, sequence: Sequence) -> int:
        """Tokens that its prefill takes: not those whose KV is known."""
        known = sequence.prefix in self.prefiller.prefixes if sequence.prefix else False
        return sequence.request.prompt.tokens - (sequence.prefix_tokens if known else 0)

    def _admit(self, sequence: Sequence, width: int) -> None:
        first = self._settings.rows - self.free
        self.waiting.remove(sequence)
        self.prefilling.append(sequence)
        sequence.rows = list(range(first, first + width))
        sequence.admitted = time.perf_counter()
        if width > 1:
            sequence.search = Beams(sequence.request.decoding, self._loaded.eos_token_ids)
        for key in sequence.keys:
            if key not in sequence.features and (known := self.features.get(key)) is not None:
                sequence.features[key] = known
        self._isolated(self._begin, [sequence])

    def _prefill(self) -> Proposals:
        return self._isolated(self._run, self.prefilling) if self.prefilling else {}

    def _decode(self) -> Proposals:
        return self._isolated(self._feed, self.decoding) if self.decoding else {}

    def _begin(self, admitted: Ordered[Sequence]) -> Proposals:
        for sequence in admitted:
            self.prefiller.begin(sequence)
        return {}

    def _run(self, group: Ordered[Sequence]) -> Proposals:
        return self.prefiller.run(group, self._room)

    def _feed(self, running: Ordered[Sequence]) -> Proposals:
        return decode.step(self.forward, running)

    def _extend(self, proposals: Proposals) -> None:
        """Go on with every search by what was proposed for it; those whose prompt is complete join the decoding."""
        self.decoding += [sequence for sequence in self.prefilling if sequence.id in proposals]
        self.prefilling = [sequence for sequence in self.prefilling if sequence.id not in proposals]
        for sequence in [sequence for sequence in self.decoding if sequence.id in proposals]:
            with self._failing_alone(sequence):
                self._go_on(sequence, proposals[sequence.id])
                self._tell(sequence)
                self._finish_if_done(sequence)

    def _go_on(self, sequence: Sequence, candidates: list[Candidate]) -> None:
        if not candidates:
            raise ArithmeticError("the model answers with NaN or infinity")
        sources = sequence.search.extend(candidates)
        if sequence.search.done:
            return
        origins = [sequence.rows[source] for source in sources]
        prompt, length = sequence.request.prompt.tokens, sequence.length
        try:
            self.cache.reorder(sequence.rows, origins, prompt, length)
        except Exception as fault:  # before anything was moved
            if not is_out_of_memory(fault):
                raise
            self._free_memory()
            self.cache.reorder(sequence.rows, origins, prompt, length)

    @contextmanager
    def _failing_alone(self, sequence: Sequence) -> Iterator[None]:
        """What is done once and for one request, whose own fault it is if it fails: a listener's, say."""
        try:
            yield
        except Exception as fault:
            if is_device_fault(fault):
                raise
            self._fail(sequence, self.health.failed(fault))

    def _tell(self, sequence: Sequence) -> None:
        """Pass on what is new in an answer that can only grow, to whoever listens."""
        listener = sequence.request.on_tokens
        if listener is None or isinstance(sequence.search, Beams):
            return
        best = sequence.search.best
        ids = tuple(token for token in token_ids(best, sequence.told) if token not in self._loaded.eos_token_ids)
        sequence.told = best
        if ids:
            listener(ids)

    def _finish_if_done(self, sequence: Sequence) -> None:
        search, prompt, now = sequence.search, sequence.request.prompt, time.perf_counter()
        if not search.done:
            return
        waited_s = sequence.admitted - sequence.arrived
        seeing_s = min(sequence.seeing_s, waited_s)  # somebody else may have had it begun earlier
        ids = token_ids(search.best)
        stopped = bool(ids) and ids[-1] in self._loaded.eos_token_ids
        ids = ids[:-1] if stopped else ids
        generation = Generation(
            token_ids=ids,
            text=self._loaded.tokenizer.decode(ids, skip_special_tokens=True),
            level=Level.FULL if isinstance(search, Beams) else Level.FAST,
            finish_reason="stop" if stopped else "length",
            usage=Usage(prompt.tokens, prompt.image_tokens, len(ids)),
            queue_ms=(waited_s - seeing_s) * 1e3,
            generate_ms=(now - sequence.admitted + seeing_s) * 1e3,
        )
        self._release(sequence)
        self.health.answered()
        sequence.future.resolve(generation)

    def _release(self, sequence: Sequence) -> None:
        """Take it out and give its rows back."""
        for group in (self.waiting, self.prefilling, self.decoding):
            if sequence in group:
                group.remove(sequence)
        self._give_back(sequence, sequence.rows)
        sequence.features, sequence.embeddings = {}, None

    def _give_back(self, sequence: Sequence, rows: list[int]) -> None:
        """Rows that are clear for whoever gets them next."""
        for row in rows:
            self.cache.clear(row, sequence.written)
        sequence.rows = [row for row in sequence.rows if row not in rows]

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
        self.features.clear()
        if self._loaded.device.type == "cuda":
            torch.cuda.empty_cache()


@torch.inference_mode()
def _forward(family: Family, cache: RowCache, settings: RowSettings) -> Forward:
    """The decode forward, on a GPU as graphs if the settings say so."""
    eager = EagerForward(family, cache)
    if cache.kv.device.type != "cuda" or not settings.cuda_graphs:
        return eager
    graphed = GraphedForward(eager, cache, settings.bucket, family.widths.vocabulary)
    graphed.capture()
    return graphed
