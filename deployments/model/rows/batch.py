"""The requests that share the rows, and what one step does to them: who leaves, who comes, one token more for the rest.

What goes wrong stays with its request: work on several that fails is done again for each by itself. A step that fails
for nobody's fault is taken again. A device that fails ends it for all.
"""

import logging
import time
from bisect import insort_right
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Ordered
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch

from deployments.contract import Level
from deployments.errors import DeadlineExceeded, Overloaded
from deployments.model.engine import Clock
from deployments.model.families.family import Family
from deployments.model.faults import is_device_fault, is_out_of_memory
from deployments.model.health import Health, ending
from deployments.model.loading import Loaded
from deployments.model.rows import decode
from deployments.model.rows.answers import generation_of, level_of
from deployments.model.rows.beams import Beams, Candidate, Greedy, token_ids
from deployments.model.rows.cache import RowCache
from deployments.model.rows.decode import Proposals
from deployments.model.rows.graphs import forward_for
from deployments.model.rows.pictures import Look, Pictures
from deployments.model.rows.prefill import Prefiller, shares
from deployments.model.rows.scheduler import Plan, Running, Waiting, plan
from deployments.model.rows.sequence import Sequence
from deployments.model.rows.sight import Seen
from deployments.model.rows.tenancy import Tenancy
from deployments.model.settings import RowSettings
from deployments.model.stores import TensorStore

logger = logging.getLogger("ray.serve")

Work = Callable[[Ordered[Sequence]], Proposals]

MOST_FAILED_STEPS = 5
"""So many that failed one after the other, and for no request's fault: the next one would, too."""


class Batch:
    """``waiting`` have no rows yet, ``prefilling`` and ``decoding`` share the first rows; the others are free.

    ``look`` asks for a picture to be seen, whose features come back by ``take``. ``memory_errors`` counts what ran out
    of memory.
    """

    def __init__(self, loaded: Loaded, family: Family, settings: RowSettings, clock: Clock, look: Look) -> None:
        self._loaded, self._settings, self._clock = loaded, settings, clock
        self.cache = RowCache(family.kv_shape, settings.rows, settings.length, loaded.dtype, loaded.device)
        self.prefiller = Prefiller(family, self.cache, TensorStore(settings.prefix_store_mb * 2**20))
        self.pictures = Pictures(TensorStore(settings.feature_store_mb * 2**20), self.prefiller.prefixes, look)
        self.forward = forward_for(family, self.cache, settings)
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.decoding: list[Sequence] = []
        self.health = Health(loaded.device)
        self.memory_errors = self._failed_steps = 0
        self._tenancy = Tenancy(self.cache)

    @property
    def features(self) -> TensorStore:
        return self.pictures.features

    @property
    def running(self) -> list[Sequence]:
        return [*self.prefilling, *self.decoding]

    @property
    def free(self) -> int:
        """How many rows nobody holds."""
        return self._settings.rows - sum(len(sequence.rows) for sequence in self.running)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything but wait for pictures to be seen."""
        return bool(self.running or any(self.pictures.is_ready(sequence) for sequence in self.waiting))

    def add(self, sequence: Sequence) -> None:
        insort_right(self.waiting, sequence, key=lambda one: one.request.turn)

    def take(self, seen: Seen) -> None:
        """Features for those that wait for them. Raises what the device fails with."""
        self.pictures.forget(seen.key)
        asked = [sequence for sequence in self.waiting if seen.key in sequence.keys]
        if not isinstance(seen.outcome, Exception):
            self.pictures.take(seen.key, seen.outcome, seen.took_s, asked)
            return
        if is_device_fault(seen.outcome):
            raise seen.outcome
        if is_out_of_memory(seen.outcome):
            self._free_memory()
        for sequence in asked:
            self._fail(sequence, self.health.failed(seen.outcome))

    def load(self) -> tuple[int, int]:
        """(running, waiting) requests."""
        return len(self.prefilling) + len(self.decoding), len(self.waiting)

    def step(self) -> None:
        """Raises what the device fails with, and what has failed in several steps one after the other."""
        try:
            self._step()
            self._failed_steps = 0
        except Exception as fault:
            self._failed_steps += 1
            if is_device_fault(fault) or self._failed_steps >= MOST_FAILED_STEPS:
                raise
            logger.warning("a step failed for no request's fault, and is taken again: %r", fault)
            if is_out_of_memory(fault):
                self._free_memory()

    def _step(self) -> None:
        """Whatever fails on the way, the next step begins where this one ended."""
        self._drop_abandoned()
        self._look_ahead()
        self._tenancy.close_gaps(self.running)
        self._make_room()
        room = self._room
        self._extend(self._decode())
        self._extend(self._prefill(room))

    def refuse_waiting(self) -> None:
        """Nobody of them has asked for an end: another replica answers them."""
        while self.waiting:
            self.waiting.popleft().future.resolve(ending())

    def fail_all(self, fault: BaseException) -> None:
        for sequence in (*self.waiting, *self.running):
            self._fail(sequence, fault)

    def collapse(self, sequence: Sequence) -> None:
        """Keep a beam search's best hypothesis and give its other rows back; it goes on greedily."""
        if isinstance(sequence.search, Beams):
            with self._failing_alone(sequence):
                sequence.search = sequence.search.collapse()
                self._tenancy.give_back(sequence, sequence.rows[1:])
                self._tell(sequence)
                self._finish_if_done(sequence)

    def _drop_abandoned(self) -> None:
        """Forget those that nobody waits for any more, and those that have missed their deadline."""
        now = self._clock()
        for sequence in (*self.waiting, *self.running):
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
            if not self.pictures.is_ready(sequence):
                with self._failing_alone(sequence):
                    self.pictures.look_at(sequence)
            room -= sequence.request.prompt.image_tokens
            if room <= 0:
                return

    def _make_room(self) -> None:
        """Carry out the scheduler's plan: first the collapses, then the admissions."""
        room = self._room - sum(sequence.missing for sequence in self.prefilling)
        if not self.waiting or room <= 0:
            return
        decided = self._plan(room)
        for sequence in [s for s in self.running if s.id in decided.collapse]:
            self.collapse(sequence)
        widths = dict(decided.admit)
        for sequence in [sequence for sequence in self.waiting if sequence.id in widths]:
            self._tenancy.close_gaps(self.running)
            if self.pictures.is_ready(sequence):  # still: somebody before it may have needed the stores' memory
                self._admit(sequence, widths[sequence.id])

    def _plan(self, room: int) -> Plan:
        settings = self._settings
        return plan(
            free=self.free,
            waiting=[
                Waiting(
                    s.id, min(s.request.decoding.beam_width, settings.rows), self._cost(s), s.request.priority,
                    settings.collapse, self.pictures.is_ready(s),
                )
                for s in self.waiting
            ],
            running=[
                Running(s.id, len(s.rows), s.search.generated, settings.collapse, level_of(s) is not Level.FULL)
                for s in self.running
            ],
            prefill_tokens=room,
        )  # fmt: skip

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
        self._isolated(self._begin, [sequence])

    def _begin(self, admitted: Ordered[Sequence]) -> Proposals:
        for sequence in admitted:
            decoding, width = sequence.request.decoding, len(sequence.rows)
            if width > 1:
                sequence.search = Beams(replace(decoding, beam_width=width), self._loaded.eos_token_ids)
            if self.pictures.is_ready(sequence):
                self.pictures.hand_over(sequence)
                self.prefiller.begin(sequence)
            else:
                self._put_back(sequence)
        return {}

    def _put_back(self, sequence: Sequence) -> None:
        """To wait as before: what was known of its pictures has been given up for memory."""
        self.prefilling.remove(sequence)
        self._tenancy.give_back(sequence, sequence.rows)
        sequence.search = Greedy(sequence.request.decoding, self._loaded.eos_token_ids)
        self.waiting.appendleft(sequence)

    def _prefill(self, room: int) -> Proposals:
        taken_in = shares(self.prefilling, room)
        return self._isolated(partial(self._run, taken_in), list(taken_in)) if taken_in else {}

    def _run(self, taken_in: dict[Sequence, int], group: Ordered[Sequence]) -> Proposals:
        return self.prefiller.run(group, sum(taken_in[sequence] for sequence in group))

    def _decode(self) -> Proposals:
        return self._isolated(self._feed, self.decoding) if self.decoding else {}

    def _feed(self, running: Ordered[Sequence]) -> Proposals:
        return decode.step(self.forward, running)

    def _extend(self, proposals: Proposals) -> None:
        """Go on with every search by what was proposed for it; those whose prompt is complete join the decoding."""
        for sequence in [sequence for sequence in self.running if sequence.id in proposals]:
            if sequence in self.prefilling:
                self.prefilling.remove(sequence)
                self.decoding.append(sequence)
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
        except BaseException as fault:  # a listener may raise anything; handed on, it would end its process
            self._fail(sequence, self.health.failed(RuntimeError(f"whoever listened has ended: {fault!r}")))

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
        if sequence.search.done:
            generation = generation_of(sequence, self._loaded, time.perf_counter())
            self._release(sequence)
            self.health.answered()
            sequence.future.resolve(generation)

    def _release(self, sequence: Sequence) -> None:
        """Take it out and give its rows back."""
        for group in (self.waiting, self.prefilling, self.decoding):
            if sequence in group:
                group.remove(sequence)
        self._tenancy.give_back(sequence, sequence.rows)
        sequence.features, sequence.embeddings = {}, None

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
