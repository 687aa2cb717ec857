"""Decoding in processes of their own, so that no file can take the deployment down with it.

A file that crashes its process, or takes too long or too much memory there, fails its own request and nothing else:
the process is replaced. What a process says is read as data (JSON and raw pixels), never as code.
"""

import contextlib
import json
import logging
import os
import queue
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from deployments import errors
from deployments.contract import Level, Pixels
from deployments.errors import ImageTooCostly, TuwenError
from deployments.preprocess.picture import Tiles
from deployments.preprocess.settings import FORMATS, PreprocessKnobs
from deployments.preprocess.worker import Job

logger = logging.getLogger("ray.serve")

STARTUP_S = 60.0
LONGEST_LINE = 64 * 1024
TOO_LONG = "the picture takes too long to decode: send it smaller, or as a plain JPEG or PNG"
CRASHED = "the picture could not be decoded: send it as a plain JPEG or PNG"

# glibc's malloc keeps what a picture took for the next one: giving memory back and getting it anew, page by page, is a
# quarter of the work on a small picture. Other libraries' malloc reads none of it.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024),
}


class Sandbox:
    """``processes`` workers; a call takes the first that is free. For use from threads."""

    def __init__(self, processes: int) -> None:
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()  # the last one used has the warmest caches
        self._workers = [Worker() for _ in range(processes)]
        for worker in self._workers:
            self._free.put(worker)

    def prepare(self, data: bytes, knobs: PreprocessKnobs, level: Level = Level.FULL) -> Tiles:
        """As ``picture.prepare``; raises ImageTooCostly for what that would not survive."""
        with self._worker() as worker:
            return worker.prepare(data, knobs, level)

    def process_ids(self) -> list[int]:
        """Of the present processes; another one shows that one was replaced."""
        return [worker.process.pid for worker in self._workers]

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()

    @contextlib.contextmanager
    def _worker(self) -> Iterator["Worker"]:
        worker = self._free.get()
        try:
            yield worker
        finally:
            self._free.put(worker)


class Worker:
    """One decoding process and the two pieces of memory it shares with us; the process may be replaced."""

    def __init__(self) -> None:
        self._source, self._target = os.memfd_create("file"), os.memfd_create("tiles")
        self.process = self._started()
        self._fresh = True

    def prepare(self, data: bytes, knobs: PreprocessKnobs, level: Level) -> Tiles:
        if self.process.poll() is not None:  # killed while it waited, which is no picture's fault
            self._replace("between two pictures")
        _fill(self._source, data)
        job = Job(len(data), knobs.decode_memory_mb, level, knobs.model_dump(mode="json"))
        try:
            outcome = self._asked(job.to_line(), knobs.decode_timeout_s + (STARTUP_S if self._fresh else 0))
            self._fresh = False
            if "error" in outcome:
                raise _error(outcome)
            return _tiles(outcome, self._target)
        except TuwenError:
            raise
        except Exception as fault:  # it died, hung, or no longer talks sense
            self._replace(repr(fault))
            raise ImageTooCostly(TOO_LONG if isinstance(fault, TimeoutError) else CRASHED) from fault

    def stop(self) -> None:
        self._end()
        for file in (self._source, self._target):
            os.close(file)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with contextlib.suppress(OSError):  # what was written to it last may have met nobody
                pipe.close()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "deployments.preprocess.worker", str(self._source), str(self._target)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._source, self._target),
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **_ENVIRONMENT},  # none of our secrets
        )

    def _replace(self, why: str) -> None:
        self._end()
        logger.warning("a decoding process ended (exit code %s): %s", self.process.returncode, why)
        self.process, self._fresh = self._started(), True

    def _asked(self, line: bytes, timeout_s: float) -> dict[str, Any]:
        """Its answer. Raises TimeoutError, or EOFError, OSError or ValueError when it is no longer itself."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line)
        self.process.stdin.flush()
        answer, deadline = b"", time.monotonic() + timeout_s
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            piece = os.read(self.process.stdout.fileno(), LONGEST_LINE)
            if not piece or len(answer) > LONGEST_LINE:
                raise EOFError
            answer += piece
        found = json.loads(answer)
        return found if isinstance(found, dict) else {}


def _fill(file: int, data: bytes) -> None:
    """Over what was there: the job says how much of it counts."""
    rest, at = memoryview(data), 0
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written


def _error(outcome: dict[str, Any]) -> TuwenError:
    kind = getattr(errors, str(outcome["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.ImageError)):
        raise ValueError(f"no error of a picture: {outcome['error']}")
    return kind(str(outcome["message"]))


def _tiles(outcome: dict[str, Any], file: int) -> Tiles:
    """What the process left in ``file``, as what it says that is; raises ValueError or KeyError where that is wrong."""
    pixels, at = [], 0
    for height, width in outcome["sizes"]:
        tile = _read(file, at, int(height), int(width))
        pixels.append(tile)
        at += tile.nbytes
    if outcome["source_format"] not in FORMATS:
        raise ValueError(f"no such format: {outcome['source_format']}")
    return Tiles(
        pixels=tuple(pixels),
        places=tuple((int(row), int(column)) for row, column in outcome["places"]),
        boxes=tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in outcome["boxes"]),
        picture=str(outcome["picture"]),
        size=_pair(outcome["size"]),
        source_format=outcome["source_format"],
        source_size=_pair(outcome["source_size"]),
    )


def _read(file: int, at: int, height: int, width: int) -> Pixels:
    if os.fstat(file).st_size < at + height * width * 3:
        raise ValueError("fewer pixels than promised")
    tile = np.empty((height, width, 3), np.uint8)
    rest = tile.data.cast("B")
    while rest:
        read = os.preadv(file, [rest], at)
        rest, at = rest[read:], at + read
    return tile


def _pair(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)
