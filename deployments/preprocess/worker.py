"""The process that decodes strangers' files: ``python -m deployments.preprocess.worker IN OUT``.

It knows nothing but the files it is handed, and may take so much memory and no more; what a hostile file does to it
fails one request. ``IN`` and ``OUT`` are open file descriptors in memory: the file's bytes, and the pixels of the tiles
one after the other. Its first line on standard output names what confines it; then a line of JSON on standard input is
a job (``Job``), a line on standard output its outcome.
"""

import json
import os
import resource
import sys
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from deployments import errors
from deployments.contract import ANY_SIZE, Level, View
from deployments.preprocess.confine import confine
from deployments.preprocess.picture import Tiles, prepare
from deployments.preprocess.settings import FORMATS, PreprocessKnobs

TOO_MUCH = "the picture takes too much memory to decode: send it smaller, or as a plain JPEG or PNG"


@dataclass(frozen=True, slots=True)
class Job:
    """``length`` bytes in IN, to be prepared as the knobs say, within ``memory_mb`` more than the process had."""

    length: int
    memory_mb: int
    level: Level
    knobs: dict[str, Any]
    most_tokens: int | None = None
    view: View = ANY_SIZE

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def serve(source: int, target: int) -> None:
    """Jobs until standard input ends, which it does when the parent goes."""
    load_all()
    base_bytes = _address_space()
    _say({"confined": confine()})
    for line in sys.stdin.buffer:
        _say(_outcome(json.loads(line), base_bytes, source, target))


def load_all() -> None:
    """What decoding needs of Pillow: once confined, the process can load nothing any more."""
    Image.init()
    for kind in FORMATS:
        file = BytesIO()
        Image.new("RGB", (28, 28)).save(file, kind)
        prepare(file.getvalue(), PreprocessKnobs())


def _say(line: Any) -> None:
    sys.stdout.buffer.write(json.dumps(line).encode() + b"\n")
    sys.stdout.buffer.flush()


def _outcome(job: dict[str, Any], base_bytes: int, source: int, target: int) -> dict[str, Any]:
    try:
        _limit_memory(base_bytes + job["memory_mb"] * 1024 * 1024)
        data = os.pread(source, job["length"], 0)
        knobs = PreprocessKnobs.model_validate(job["knobs"])
        tiles = prepare(data, knobs, Level(job["level"]), job["most_tokens"], View(**job["view"]))
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
        "full_boxes": tiles.full_boxes,
    }


def _limit_memory(most_bytes: int) -> None:
    """Of address space; beyond it an allocation fails."""
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, resource.RLIM_INFINITY))


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
