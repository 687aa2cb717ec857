"""The row engine: a thread that steps its batch for as long as anybody waits, and sleeps otherwise."""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import count
from queue import Empty, SimpleQueue

import torch

from deployments.errors import Overloaded, QuestionTooLong
from deployments.model.engine import CLOSING_S, Answering, Clock, EngineRequest, Generation
from deployments.model.families.family import Family
from deployments.model.health import ended, ending
from deployments.model.loading import Loaded
from deployments.model.rows.batch import Batch
from deployments.model.rows.beams import Greedy
from deployments.model.rows.keys import picture_key, prefix_key, prefix_tokens
from deployments.model.rows.sequence import Sequence
from deployments.model.rows.sight import Seen, Sight
from deployments.model.settings import RowSettings

logger = logging.getLogger("ray.serve")

STUCK_AFTER_S = 60.0
LOOK_S = 0.05
"""While pictures are seen, those that wait for them may be abandoned, or run out of time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way to the thread: until it is there, it keeps its engine."""

    sequence: Sequence
    engine: "RowEngine"


Arrival = Asked | Seen | None
Inbox = SimpleQueue[Arrival]
"""None: look whether the engine is closed, or gone."""


class RowEngine:
    """Serves up to ``settings.rows`` hypotheses at a time."""

    def __init__(
        self,
        loaded: Loaded,
        settings: RowSettings | None = None,
        clock: Clock = time.time,
        family: Family | None = None,
        threads: int | None = None,
    ) -> None:
        """``threads`` of the CPU, by default torch's number, are shared out: decoding beside the vision tower."""
        threads = threads or torch.get_num_threads()
        self._loaded, self._settings = loaded, settings or RowSettings()
        family = family or loaded.take_apart()
        self._inbox: Inbox = SimpleQueue()
        self.sight = Sight(family, loaded.device, self._settings.prefill_tokens, max(1, threads // 2), self._inbox.put)
        self.batch = Batch(loaded, family, self._settings, clock, self.sight.ask)
        self._ids, self._arriving = count(), 0
        self._gate = threading.Lock()  # nothing comes in once the engine has begun to end
        self._closed = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(
            target=_work,
            args=(self._inbox, weakref.ref(self), max(1, threads - threads // 2)),
            name="row-engine",
            daemon=True,
        )
        self._thread.start()
        weakref.finalize(self, _wake, self._inbox, self.sight).atexit = False

    def submit(self, request: EngineRequest) -> Future[Generation]:
        sequence = begun(next(self._ids), request, self._loaded, self._settings)
        with self._gate:
            if self._closed:
                raise ending()
            if not any(self.load()):
                self._beat = time.monotonic()  # it has slept, and is not stuck
            if self.load()[1] >= self._settings.waiting:
                raise Overloaded(f"{self._settings.waiting} requests wait here already: try again later")
            self._arriving += 1
            self._inbox.put(Asked(sequence, self))
        return sequence.future

    def load(self) -> tuple[int, int]:
        running, waiting = self.batch.load()
        return running, waiting + self._arriving

    def pressure(self) -> tuple[int, float]:
        arrived = [sequence.arrived for sequence in tuple(self.batch.waiting)]
        age_s = time.perf_counter() - min(arrived) if arrived else 0.0
        return self._settings.rows - self.batch.free, age_s

    def check(self) -> None:
        self.batch.health.check()
        if not (self._thread.is_alive() and self.sight.is_alive()):
            raise RuntimeError("a thread of the engine has died")
        if any(self.load()) and time.monotonic() - self._beat > STUCK_AFTER_S:
            raise RuntimeError(f"the engine has not finished a step for {STUCK_AFTER_S:.0f} s")
        if self.sight.busy_s() > STUCK_AFTER_S:
            raise RuntimeError(f"the vision tower has looked at the same pictures for {STUCK_AFTER_S:.0f} s")

    def close(self) -> None:
        """Finish what has rows, refuse what waits; Unavailable for what takes longer than a minute."""
        with self._gate:
            self._closed = True
            self._inbox.put(None)
        if threading.current_thread() is self._thread:  # whoever was answered closes it
            return
        self._thread.join(timeout=CLOSING_S)
        for sequence in self._here():
            sequence.future.resolve(ending())
            sequence.future.abandoned.set()
        self.sight.close()

    def _here(self) -> list[Sequence]:
        """Those that a thread which hangs has not answered."""
        arriving = [arrival.sequence for arrival in _arrived(self._inbox, 0) if isinstance(arrival, Asked)]
        self._inbox.put(None)  # what was taken out may have been the word to end
        while self._thread.is_alive():
            try:
                return [*arriving, *self.batch.waiting, *self.batch.running]
            except RuntimeError:  # they changed under the reading
                continue
        return arriving

    def turn(self, arrived: list[Arrival]) -> bool:
        """Take in what has arrived, and one step. False when there will be no other."""
        try:
            self._take_in(arrived)
            if self._closed:
                self.batch.refuse_waiting()
                if not any(self.batch.load()):
                    return False
            self._beat = time.monotonic()
            self.batch.step()
        except BaseException as fault:
            logger.error("the row engine ends", exc_info=fault)
            self._end(fault, arrived)
            return False
        return True

    def _take_in(self, arrived: list[Arrival]) -> None:
        while arrived:
            arrival = arrived.pop(0)
            if isinstance(arrival, Asked):
                self._add(arrival.sequence)
            elif arrival is not None:
                self.batch.take(arrival)

    def _add(self, sequence: Sequence) -> None:
        self.batch.add(sequence)
        with self._gate:
            self._arriving -= 1

    def _end(self, fault: BaseException, arrived: list[Arrival]) -> None:
        """Fail what is here, in a way that has it asked again elsewhere."""
        self.batch.health.ended_by = fault
        with self._gate:
            self._closed = True
        for arrival in (*arrived, *_arrived(self._inbox, 0)):
            if isinstance(arrival, Asked):
                self._add(arrival.sequence)
        self.batch.fail_all(ended())

    @property
    def patience_s(self) -> float | None:
        """How long to wait for something to arrive: for ever where nothing is here, not at all where work is."""
        if self._closed or self.batch.has_work:
            return 0
        return LOOK_S if self.batch.waiting else None


@torch.inference_mode()
def _work(inbox: Inbox, own: Callable[[], RowEngine | None], threads: int) -> None:
    """What the thread does. It holds the engine only while it has work: one that nobody else holds can go."""
    torch.set_num_threads(threads)
    engine: RowEngine | None = None
    patience_s: float | None = None
    goes_on = True
    while goes_on:
        arrived = _arrived(inbox, patience_s)
        engine = engine or own()
        goes_on = engine is not None and engine.turn(arrived)
        patience_s = engine.patience_s if engine is not None else None
        if patience_s is None:
            engine = None


def _arrived(inbox: Inbox, patience_s: float | None) -> list[Arrival]:
    """All that is there, after waiting so long for the first of it."""
    found: list[Arrival] = []
    try:
        found.append(inbox.get(timeout=patience_s))
        while True:
            found.append(inbox.get_nowait())
    except Empty:
        return found


def _wake(inbox: Inbox, sight: Sight) -> None:
    """Have the threads see that their engine has gone."""
    inbox.put(None)
    sight.end()


def begun(number: int, request: EngineRequest, loaded: Loaded, settings: RowSettings) -> Sequence:
    """The request as a sequence, within the length of a row. Raises QuestionTooLong when not even its prompt fits."""
    decoding, tokens = request.decoding, request.prompt.tokens
    if tokens >= settings.length:
        raise QuestionTooLong(
            f"picture and words together have {tokens} tokens, more than the {settings.length - 1} that the "
            "model takes here: send a smaller picture, or fewer words"
        )
    decoding = replace(decoding, max_new_tokens=min(decoding.max_new_tokens, settings.length - tokens))
    keys = tuple(picture_key(picture) for picture in request.pictures)
    end = prefix_tokens(request.prompt)
    return Sequence(
        id=number,
        request=replace(request, decoding=decoding),
        future=Answering(),
        arrived=time.perf_counter(),
        search=Greedy(decoding, loaded.eos_token_ids),
        keys=keys,
        prefix=prefix_key(request.prompt, end, keys) if keys else b"",
        prefix_tokens=end,
    )
