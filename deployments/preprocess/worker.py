"""The process that decodes strangers' files: ``python -m deployments.preprocess.worker IN OUT``.

It knows nothing but the files it is handed, and may take so much memory and no more; what a hostile file does to it
fails one request. ``IN`` and ``OUT`` are open file descriptors in memory: the file's bytes, and the pixels of the tiles
one after the other. A line of JSON on standard input is a job (``Job``), a line on standard output its outcome.
"""

import json
import os
import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from deployments import errors
from deployments.contract import Level
from deployments.preprocess.picture import Tiles, prepare
from deployments.preprocess.settings import PreprocessKnobs

TOO_MUCH = "the picture takes too much memory to decode: send it smaller, or as a plain JPEG or PNG"


@dataclass(frozen=True, slots=True)
class Job:
    """``length`` bytes in IN, to be prepared as the knobs say, within ``memory_mb`` more than the process had."""

    length: int
    memory_mb: int
    level: Level
    knobs: dict[str, Any]

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def serve(source: int, target: int) -> None:
    """Jobs until standard input ends, which it does when the parent goes."""
    _confine()
    for line in sys.stdin.buffer:
        outcome = _outcome(json.loads(line), source, target)
        sys.stdout.buffer.write(json.dumps(outcome).encode() + b"\n")
        sys.stdout.buffer.flush()


def _outcome(job: dict[str, Any], source: int, target: int) -> dict[str, Any]:
    try:
        _limit_memory(job["memory_mb"])
        data = os.pread(source, job["length"], 0)
        tiles = prepare(data, PreprocessKnobs.model_validate(job["knobs"]), Level(job["level"]))
        _write(tiles, target)
        return _described(tiles)
    except errors.TuwenError as error:
        return {"error": type(error).__name__, "message": error.message}
    except MemoryError:
        return {"error": errors.ImageTooCostly.__name__, "message": TOO_MUCH}


def _write(tiles: Tiles, target: int) -> None:
    """One after the other from the beginning, over what was there: fresh memory costs more than the copying."""
    os.lseek(target, 0, os.SEEK_SET)
    for pixels in tiles.pixels:
        rest = np.ascontiguousarray(pixels).data.cast("B")
        while rest:
            rest = rest[os.write(target, rest) :]


def _described(tiles: Tiles) -> dict[str, Any]:
    return {
        "sizes": tiles.sizes,
        "places": tiles.places,
        "boxes": tiles.boxes,
        "picture": tiles.picture,
        "size": tiles.size,
        "source_format": tiles.source_format,
        "source_size": tiles.source_size,
    }


def _confine() -> None:
    """No core dumps, few files, no children."""
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 32), (resource.RLIMIT_NPROC, 0)):
        resource.setrlimit(limit, (value, value))


def _limit_memory(more_mb: int) -> None:
    """Address space for ``more_mb`` beyond what the process began with; beyond it an allocation fails."""
    most = _BASE_BYTES + more_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


Image.preinit()  # loads the common formats now, before the measure is taken
_BASE_BYTES = _address_space()

if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
