"""Decoding in processes of their own, so that no file can take the deployment down with it.

A file that crashes its process, or takes too long or too much memory there, fails its own request and nothing else:
the process is replaced by one that stands ready. A process that somebody else ended, as the kernel does when memory is
short, is no picture's fault: the picture is tried once more.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from deployments.contract import ANY_SIZE, Level, View
from deployments.errors import DeadlineExceeded, ImageTooCostly, Overloaded, TuwenError, Unavailable
from deployments.preprocess.confine import MEASURES
from deployments.preprocess.picture import Tiles
from deployments.preprocess.process import NO_ROOM, Abandoned, Abandonment, DecodingProcess
from deployments.preprocess.settings import PreprocessKnobs
from deployments.preprocess.turns import Turns
from deployments.preprocess.worker import Job

logger = logging.getLogger("ray.serve")

Clock = Callable[[], float]
"""Seconds since the epoch."""

ATTEMPTS = 2
TOO_LONG = "the picture takes too long to decode: send it smaller, or as a plain JPEG or PNG"
CRASHED = "the picture could not be decoded: send it as a plain JPEG or PNG"
TOO_LATE = "the time for this request was over before its picture was decoded: ask again"
FULL = "more pictures wait to be decoded than there is room for: ask again in a moment"
NO_PROCESS = "pictures cannot be decoded at the moment: ask again"


@dataclass(frozen=True, slots=True)
class Task:
    """A file to be prepared until ``deadline``, in seconds since the epoch; the rest as of ``picture.prepare``."""

    data: bytes
    knobs: PreprocessKnobs
    level: Level
    deadline: float
    most_tokens: int | None = None
    view: View = ANY_SIZE

    @property
    def job(self) -> Job:
        knobs = self.knobs.model_dump(mode="json")
        return Job(len(self.data), self.knobs.decode_memory_mb, self.level, knobs, self.most_tokens, self.view)


class Sandbox:
    """``processes`` of them; a call takes the first that is free. For use from threads and event loops."""

    def __init__(self, processes: int, clock: Clock = time.time) -> None:
        self._clock, self._spares = clock, Spares()
        self._workers = [Worker(self._spares, clock) for _ in range(processes)]
        self._turns = Turns(self._workers)
        self._threads = ThreadPoolExecutor(processes, "decoding")
        self._bytes = 0  # of files that wait or are decoded on an event loop

    def prepare(
        self, data: bytes, knobs: PreprocessKnobs, level: Level = Level.FULL, deadline: float = math.inf
    ) -> Tiles:
        """As ``picture.prepare``, from a thread.

        Raises besides its errors ImageTooCostly for what the process does not survive twice, DeadlineExceeded at
        ``deadline`` (seconds since the epoch), and Unavailable where no process can be started.
        """
        task, abandonment = Task(data, knobs, level, deadline), Abandonment()
        place = self._turns.take()
        try:
            worker = place.result(_finite(self._left(task)))
        except TimeoutError:
            self._turns.leave(place)
            abandonment.close()
            raise DeadlineExceeded(TOO_LATE) from None
        return self._worked(worker, task, abandonment)

    async def prepared(
        self,
        data: bytes,
        knobs: PreprocessKnobs,
        level: Level = Level.FULL,
        deadline: float = math.inf,
        most_tokens: int | None = None,
        view: View = ANY_SIZE,
    ) -> Tiles:
        """The same on an event loop, which it never blocks.

        Who is cancelled or too late leaves the queue at once, and a decoding process shortly after. Raises Overloaded
        for what would have more than ``waiting_mb`` of files wait.
        """
        task = Task(data, knobs, level, deadline, most_tokens, view)
        with self._counted(len(data), knobs.waiting_mb * 1024 * 1024):
            abandonment = Abandonment()
            try:
                worker = await self._taken(task)
            except BaseException:
                abandonment.close()
                raise
            work = self._threads.submit(self._worked, worker, task, abandonment)
            result = asyncio.wrap_future(work)
            result.add_done_callback(lambda done: done.cancelled() or done.exception())  # which nobody may wait for
            try:
                return await asyncio.shield(result)
            except asyncio.CancelledError:
                abandonment.tell()
                raise

    @property
    def confined(self) -> tuple[str, ...]:
        """The measures of ``confine.MEASURES`` that are in force; none are known before a process was ready."""
        return self._spares.confined or ()

    @property
    def waiting(self) -> int:
        """How many wait for a process."""
        return self._turns.waiting

    def check(self) -> None:
        """Raises Unavailable when processes cannot be started."""
        self._spares.check()

    def process_ids(self) -> list[int]:
        """Of the present processes; another one shows that one was replaced."""
        return [worker.process.id for worker in self._workers if worker.process]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._spares.stop()

    def _left(self, task: Task) -> float:
        return max(0.0, task.deadline - self._clock())

    def _worked(self, worker: "Worker", task: Task, abandonment: Abandonment) -> Tiles:
        try:
            return worker.prepare(task, abandonment)
        finally:
            abandonment.close()
            self._turns.give_back(worker)

    async def _taken(self, task: Task) -> "Worker":
        place = self._turns.take()
        try:
            async with asyncio.timeout(_finite(self._left(task))):
                return await asyncio.wrap_future(place)
        except BaseException as fault:
            self._turns.leave(place)
            if isinstance(fault, TimeoutError):
                raise DeadlineExceeded(TOO_LATE) from None
            raise

    @contextlib.contextmanager
    def _counted(self, size: int, most: int) -> Iterator[None]:
        """``size`` bytes more; a file that is alone is never too much."""
        if self._bytes and self._bytes + size > most:
            raise Overloaded(FULL, retry_after_s=1.0)
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size


class Worker:
    """A decoding process at a time, for one picture at a time."""

    def __init__(self, spares: "Spares", clock: Clock) -> None:
        self._spares, self._clock = spares, clock
        self.process: DecodingProcess | None = None
        with contextlib.suppress(Unavailable):
            self.process = spares.take()

    def prepare(self, task: Task, abandonment: Abandonment) -> Tiles:
        """As ``Sandbox.prepare``; raises Abandoned where nobody waited."""
        for _ in range(ATTEMPTS):
            left_s = task.deadline - self._clock()
            if left_s <= 0:
                raise DeadlineExceeded(TOO_LATE)
            process = self._ready()
            try:
                return process.prepare(task.data, task.job, min(task.knobs.decode_timeout_s, left_s), abandonment)
            except TuwenError:
                raise
            except TimeoutError as fault:
                self._drop("it took too long")
                late = left_s < task.knobs.decode_timeout_s
                raise (DeadlineExceeded(TOO_LATE) if late else ImageTooCostly(TOO_LONG)) from fault
            except Abandoned:
                self._drop("nobody waited for it any more")
                raise
            except MemoryError as fault:  # on this side
                self._drop("no memory for its tiles")
                raise Unavailable(NO_ROOM, retry_after_s=5.0) from fault
            except Exception as fault:  # it died, or no longer talks sense
                self._drop(repr(fault))
        raise ImageTooCostly(CRASHED)

    def stop(self) -> None:
        if self.process:
            self.process.stop()
            self.process = None

    def _ready(self) -> DecodingProcess:
        """Raises Unavailable where a process, and another one, ends before it is ready."""
        try:
            return self._next()
        except Unavailable:
            return self._next()

    def _next(self) -> DecodingProcess:
        if self.process and self.process.exit_code is not None:  # killed while it waited
            self._drop("between two pictures")
        if self.process is None:
            self.process = self._spares.take()
        try:
            self._spares.wait_ready(self.process)
        except Unavailable:
            self._drop("before it was ready")
            raise
        return self.process

    def _drop(self, why: str) -> None:
        """The process ends; the next one is taken when it is needed, or at once if it stands ready."""
        assert self.process
        gone, self.process = self.process, None
        gone.stop()
        logger.warning("decoding process %s ended (exit code %s): %s", gone.id, gone.exit_code, why)


class Spares:
    """A process that stands ready, so that nobody waits for one to start; and whether they can be started at all."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spare: DecodingProcess | None = None
        self._failing = False
        self.confined: tuple[str, ...] | None = None

    def take(self) -> DecodingProcess:
        """One that starts or stands ready; the next one begins to start. Raises Unavailable."""
        with self._lock:
            taken, self._spare = self._alive() or self._started(), None
            with contextlib.suppress(Unavailable):
                self._spare = self._started()
        return taken

    def wait_ready(self, process: DecodingProcess) -> None:
        """Raises Unavailable if it never is."""
        try:
            process.wait_ready()
        except Exception as fault:
            raise self._failed(fault) from fault
        self._failing = False
        if self.confined is None:
            self.confined = process.confined or ()
            if missing := [name for name in MEASURES if name not in self.confined]:
                logger.warning("decoding processes are not confined by %s: not offered here", ", ".join(missing))

    def check(self) -> None:
        """Raises Unavailable when one failed to start and another one does, too."""
        if self._failing:
            try:
                self._try()
            except Unavailable:  # one that began to start while things were worse
                self._try()

    def _try(self) -> None:
        process = self.take()
        try:
            self.wait_ready(process)
        finally:
            process.stop()

    def stop(self) -> None:
        if self._spare:
            self._spare.stop()

    def _alive(self) -> DecodingProcess | None:
        if self._spare and self._spare.exit_code is not None:
            gone, self._spare = self._spare, None
            gone.stop()
        return self._spare

    def _started(self) -> DecodingProcess:
        try:
            return DecodingProcess()
        except OSError as fault:
            raise self._failed(fault) from fault

    def _failed(self, fault: Exception) -> Unavailable:
        self._failing = True
        logger.error("a decoding process could not be started: %r", fault)
        return Unavailable(NO_PROCESS, retry_after_s=5.0)


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
