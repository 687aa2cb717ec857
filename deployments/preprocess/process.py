"""One decoding process and the memory it shares with us. What it says is read as data (JSON and raw pixels)."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from threading import Lock
from typing import Any

import numpy as np

from deployments import errors
from deployments.contract import Box, Pixels
from deployments.errors import TuwenError, Unavailable
from deployments.preprocess.picture import Tiles
from deployments.preprocess.settings import FORMATS
from deployments.preprocess.worker import Job

STARTUP_S = 60.0
LONGEST_LINE = 64 * 1024
NO_ROOM = "there is no memory for the picture at the moment: ask again"
ZEROS = bytes(1024 * 1024)

# glibc's malloc keeps what a picture took for the next one: giving memory back and getting it anew, page by page, is a
# quarter of the work on a small picture. Other libraries' malloc reads none of it.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024),
}


class Abandoned(Exception):
    """Nobody waits for the picture any more, and its process was not done soon after."""


class Abandonment:
    """Told from another thread; the process that decodes has ``GRACE_S`` to be done, which a new one takes to start."""

    GRACE_S = 0.3

    def __init__(self) -> None:
        """Raises Unavailable where no more files can be opened."""
        try:
            self.file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as fault:
            raise Unavailable(NO_ROOM, retry_after_s=5.0) from fault
        self._open, self._lock = True, Lock()

    def tell(self) -> None:
        with self._lock:
            if self._open:
                os.eventfd_write(self.file, 1)

    def close(self) -> None:
        with self._lock:
            self._open = False
            os.close(self.file)


class DecodingProcess:
    """A child that starts at once and takes jobs when it is ready. Raises OSError where it cannot even be started."""

    def __init__(self) -> None:
        self._source, self._target = os.memfd_create("file"), os.memfd_create("tiles")
        self._filled = 0  # bytes of the last file, the only ones of _source that are not zero
        self.confined: tuple[str, ...] | None = None  # until it is ready
        try:
            self._child = self._started()
        except BaseException:
            self._close_files()
            raise

    @property
    def id(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        return self._child.poll()

    def wait_ready(self, timeout_s: float = STARTUP_S) -> None:
        """Raises TimeoutError, or EOFError, OSError or ValueError when it ended before it could do anything."""
        if self.confined is None:
            self.confined = tuple(str(name) for name in self._line(timeout_s, None)["confined"])

    def prepare(self, data: bytes, job: Job, timeout_s: float, abandonment: Abandonment) -> Tiles:
        """What it makes of a file; afterwards the shared memory knows neither the file before nor the tiles.

        Raises the picture's fault, Unavailable where this machine has no memory for it, TimeoutError, Abandoned, or
        anything else when the process is no longer itself.
        """
        try:
            self._fill(data)
        except OSError as fault:
            raise Unavailable(NO_ROOM, retry_after_s=5.0) from fault
        assert self._child.stdin
        self._child.stdin.write(job.to_line())
        self._child.stdin.flush()
        outcome = self._line(timeout_s, abandonment)
        if "error" in outcome:
            _clear(self._target, 0, os.fstat(self._target).st_size)
            raise _error(outcome)
        tiles = _tiles(outcome, self._target)
        _clear(self._target, 0, sum(tile.nbytes for tile in tiles.pixels))
        return tiles

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            with contextlib.suppress(OSError):  # what was written to it last may have met nobody
                pipe.close()
        self._close_files()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "deployments.preprocess.worker", str(self._source), str(self._target)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._source, self._target),
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **_ENVIRONMENT},  # none of our secrets
        )

    def _close_files(self) -> None:
        for file in (self._source, self._target):
            os.close(file)

    def _fill(self, data: bytes) -> None:
        """Over the file before, of which nothing is left: writing over costs less than fresh memory."""
        rest, at = memoryview(data), 0
        while rest:
            written = os.pwrite(self._source, rest, at)
            rest, at = rest[written:], at + written
        _clear(self._source, at, self._filled)
        self._filled = at

    def _line(self, timeout_s: float, abandonment: Abandonment | None) -> dict[str, Any]:
        assert self._child.stdout
        output, answer, deadline = self._child.stdout.fileno(), b"", time.monotonic() + timeout_s
        poll, abandoned = select.poll(), False
        for file in (output, abandonment.file) if abandonment else (output,):
            poll.register(file, select.POLLIN)
        while not answer.endswith(b"\n"):
            ready = [file for file, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1e3)]
            if not ready:
                raise Abandoned if abandoned else TimeoutError
            if output in ready:
                answer += _piece(output, len(answer))
            elif abandonment:
                poll.unregister(abandonment.file)
                abandoned, deadline = True, min(deadline, time.monotonic() + Abandonment.GRACE_S)
        found = json.loads(answer)
        return found if isinstance(found, dict) else {}


def _piece(output: int, had: int) -> bytes:
    """More of a line. Raises EOFError at its end, or if it is too long."""
    piece = os.read(output, LONGEST_LINE)
    if not piece or had > LONGEST_LINE:
        raise EOFError
    return piece


def _clear(file: int, begin: int, end: int) -> None:
    """Zeros from ``begin`` to ``end``."""
    while begin < end:
        begin += os.pwrite(file, memoryview(ZEROS)[: end - begin], begin)


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
        boxes=_boxes(outcome["boxes"]),
        picture=str(outcome["picture"]),
        size=_pair(outcome["size"]),
        source_format=outcome["source_format"],
        source_size=_pair(outcome["source_size"]),
        full_boxes=_boxes(outcome["full_boxes"]),
    )


def _boxes(value: Any) -> tuple[Box, ...]:
    return tuple((int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in value)


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
