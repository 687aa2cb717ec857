"""Mutated pictures through the decoding process: nothing may escape the error tree, nothing may be kept.

    python -m benchmarks.fuzz_files --count 100000 --seed 0

Each file is one of a few dozen small sound pictures with bytes flipped, overwritten, cut out, doubled, or cut off. A
row tells how often each outcome came, whether the process had to be replaced, and the resident memory of both sides.
Exits 1 if anything but a picture's error came out, or if a process grew by more than a tenth after warming up.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from deployments.errors import ImageError
from deployments.preprocess.safety.blocklist import dhash
from deployments.preprocess.sandbox import Sandbox
from deployments.preprocess.settings import FORMATS, PreprocessKnobs

MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), "WEBP": ("RGB", "RGBA"),
         "GIF": ("RGB", "P"), "BMP": ("RGB", "L", "1")}  # fmt: skip
WORDS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\1",
    b"\xff\xd8",
    b"IDAT",
    b"Exif",
)


def sound_files(rng: Random) -> list[bytes]:
    """Every format in every mode, still and animated, with and without EXIF."""
    noise = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for kind in FORMATS:
        for mode in MODES[kind]:
            image = Image.fromarray(noise).convert("L").convert("I;16") if mode == "I;16" else Image.fromarray(noise)
            image = image if mode == "I;16" else image.convert(mode)
            files.append(_encoded(image, kind, {}))
            if kind in ("JPEG", "PNG", "WEBP"):
                files.append(_encoded(image, kind, {"exif": exif}))
            if kind in ("PNG", "WEBP", "GIF"):
                files.append(_encoded(image, kind, {"save_all": True, "append_images": [image.rotate(90)] * 3}))
    return files


def _encoded(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flip(rng: Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(rng: Random, data: bytearray) -> None:
    word, at = rng.choice(WORDS), rng.randrange(len(data))
    data[at : at + len(word)] = word


def cut_out(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 64)]


def double(rng: Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 256)]


def cut_off(rng: Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


MUTATIONS: Sequence[Callable[[Random, bytearray], None]] = (
    flip,
    flip,
    flip,
    overwrite,
    overwrite,
    cut_out,
    double,
    cut_off,
)


def mutated(rng: Random, data: bytes) -> bytes:
    """The file with one to eight mutations; now and then nothing but noise with a sound beginning."""
    changed = bytearray(data)
    if rng.random() < 0.02:
        changed[16:] = rng.randbytes(len(changed) - 16)
    for _ in range(rng.randint(1, 8)):
        if changed:
            rng.choice(MUTATIONS)(rng, changed)
    return bytes(changed)


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_files", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, outcomes, began = Random(options.seed), Counter[str](), time.perf_counter()
    files, knobs, sandbox = sound_files(rng), PreprocessKnobs(max_pixels=1_000_000), Sandbox(1)
    first = sandbox.process_ids()
    escapes, early = 0, (0.0, 0.0)
    for number in range(1, options.count + 1):
        try:
            tiles = sandbox.prepare(mutated(rng, rng.choice(files)), knobs)
            dhash(tiles.pixels[0])
            outcomes["prepared"] += 1
        except ImageError as error:
            outcomes[error.code] += 1
        except Exception as fault:
            escapes += 1
            print(f"ESCAPE at {number}: {fault!r}")
        if number in (options.count // 10, options.count // 2, options.count):
            now = resident_mb(os.getpid()), resident_mb(sandbox.process_ids()[0])
            early = early if any(early) else now
            print(f"{number} files, {time.perf_counter() - began:.0f} s: {now[0]:.1f} MB here, {now[1]:.1f} there")
    replaced = sandbox.process_ids() != first
    sandbox.close()
    for code, count in outcomes.most_common():
        print(f"{code:20} {count}")
    print(f"escapes {escapes}, process replaced: {'yes' if replaced else 'no'}")
    return int(escapes > 0 or any(late > 1.1 * then for late, then in zip(now, early, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
