"""The preprocessor beside a plain Pillow loop of the same steps: pictures per second of one core, and where time goes.

    python -m benchmarks.preprocess

Photographs (JPEG, quality 90) of 1, 4 and 12 megapixels. The service's way is the decoding process with the pixels
handed over; the plain loop does the same steps in this process: open, draft, decode, turn, cut, resize, digest. Both
are timed in turns, on CPU time of all processes that take part, and compared as the median of the rounds' ratios.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from deployments.preprocess.picture import prepare
from deployments.preprocess.resize import resized
from deployments.preprocess.sandbox import Sandbox
from deployments.preprocess.settings import PreprocessKnobs
from deployments.preprocess.tiling import plan

SIZES = {"1 MP": (1155, 866), "4 MP": (2309, 1732), "12 MP": (4000, 3000)}
KNOBS = PreprocessKnobs(max_image_tokens=6_500)


def photograph(size: tuple[int, int]) -> bytes:
    """Smooth areas, edges and grain: about as hard to decode as a camera's picture."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (size[1] // 40, size[0] // 40, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
    grainy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
    for left, side in ((0, 1), (64, 2), (128, 4), (192, 8)):  # something fine, without which it would need no tiles
        specks = rng.random((64 // side, 64 // side)) > 0.5
        grainy[:64, left : left + 64] = 255 * specks.repeat(side, 0).repeat(side, 1)[..., None]
    buffer = BytesIO()
    Image.fromarray(grainy).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def plain(data: bytes) -> int:
    """The same steps with Pillow alone; returns the bytes of all tiles."""
    image = Image.open(BytesIO(data))
    full = image.size
    parts = plan(*full, KNOBS.budget)
    scale = min(1.0, max(part.scale for part in parts))
    image.draft(None, (int(full[0] * scale), int(full[1] * scale)))
    upright = ImageOps.exif_transpose(image).convert("RGB")
    factor = upright.width / full[0]
    tiles = []
    for part in parts:
        left, top, right, bottom = (side * factor for side in part.box)
        gap = 3.0 if (right - left) / part.size[0] > 3 else None
        box = (left, top, right, bottom)
        tiles.append(np.asarray(upright.resize(part.size, Image.Resampling.BICUBIC, box=box, reducing_gap=gap)))
    sha256(upright.tobytes()).hexdigest()
    return sum(tile.nbytes for tile in tiles)


def cpu_s(work: Callable[[], object], sandbox: Sandbox) -> float:
    """CPU time of ``work`` in this process and in the decoding one."""
    before = _used(sandbox)
    work()
    return _used(sandbox) - before


def _used(sandbox: Sandbox) -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = Path(f"/proc/{sandbox.process_ids()[0]}/schedstat").read_text().split()[0]
    return own.ru_utime + own.ru_stime + int(ticks) / 1e9


def split_ms(data: bytes) -> dict[str, float]:
    """Where the time of one picture goes, in this process, in milliseconds of wall time."""
    began = time.perf_counter()
    image = Image.open(BytesIO(data))
    parts = plan(*image.size, KNOBS.budget)
    planned = time.perf_counter()
    full, scale = image.size, max(part.scale for part in parts)
    image.draft(None, (int(full[0] * scale), int(full[1] * scale)))
    image.load()
    decoded = time.perf_counter()
    factor = image.width / full[0]
    for part in parts:
        left, top, right, bottom = (side * factor for side in part.box)
        resized(image, part.size, (left, top, right, bottom))
    cut = time.perf_counter()
    sha256(image.tobytes()).hexdigest()
    hashed = time.perf_counter()
    steps = {"header and plan": planned - began, "decode": decoded - planned, "cut and resize": cut - decoded,
             "digest": hashed - cut}  # fmt: skip
    return {name: round(seconds * 1e3, 1) for name, seconds in steps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preprocess", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    sandbox = Sandbox(1)
    print("| picture | service, pictures/s of a core | plain Pillow | ratio | one picture, wall ms |")
    print("|---|---|---|---|---|")
    for name, size in SIZES.items():
        data = photograph(size)
        count = max(4, 24_000_000 // (size[0] * size[1]))
        whole = prepare(data, KNOBS)
        assert plain(data) == sum(tile.nbytes for tile in whole.pixels), "the loop must do the same steps"
        sandbox.prepare(data, KNOBS)

        def service(data: bytes = data, count: int = count) -> None:
            for _ in range(count):
                sandbox.prepare(data, KNOBS)

        def loop(data: bytes = data, count: int = count) -> None:
            for _ in range(count):
                plain(data)

        pairs = [(cpu_s(service, sandbox), cpu_s(loop, sandbox)) for _ in range(options.rounds)]
        ours, theirs = (count / statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(other / own for own, other in pairs)
        began = time.perf_counter()
        sandbox.prepare(data, KNOBS)
        wall_ms = (time.perf_counter() - began) * 1e3
        print(f"| {name}, {len(whole.pixels)} tiles | {ours:.1f} | {theirs:.1f} | {ratio:.2f} | {wall_ms:.0f} |")
    print("\n12 MP, where the time goes (ms):", json.dumps(split_ms(photograph(SIZES["12 MP"]))))
    sandbox.close()


if __name__ == "__main__":
    main()
