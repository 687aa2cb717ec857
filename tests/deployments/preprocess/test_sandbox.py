"""The decoding process: what it gives is what the function gives, and no file outlives its own request."""

import fcntl
import os
import signal
import struct
import termios
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deployments.contract import Level
from deployments.errors import ImageTooCostly, ImageTruncated, NotAnImage, TooManyPixels
from deployments.preprocess.picture import prepare
from deployments.preprocess.sandbox import Sandbox
from deployments.preprocess.settings import PreprocessKnobs

KNOBS = PreprocessKnobs()


def encoded(size, kind="PNG", mode="RGB", **options):
    buffer = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def sandbox():
    sandbox = Sandbox(1)
    yield sandbox
    sandbox.close()


def child(sandbox):
    return sandbox._workers[0].process


@pytest.mark.parametrize("level", Level)
def test_it_gives_what_the_function_gives(sandbox, level):
    data = encoded((2400, 1200), "JPEG")
    there, here = sandbox.prepare(data, KNOBS, level), prepare(data, KNOBS, level)
    for field in ("places", "boxes", "picture", "size", "source_format", "source_size", "sizes"):
        assert getattr(there, field) == getattr(here, field)
    assert all(np.array_equal(a, b) for a, b in zip(there.pixels, here.pixels, strict=True))


def test_a_picture_s_fault_is_told_and_the_process_goes_on(sandbox):
    before = child(sandbox).pid
    with pytest.raises(NotAnImage, match="not a picture"):
        sandbox.prepare(b"hello", KNOBS)
    with pytest.raises(ImageTruncated):
        sandbox.prepare(encoded((100, 100))[:500], KNOBS)
    with pytest.raises(TooManyPixels):
        sandbox.prepare(encoded((100, 100)), PreprocessKnobs(max_pixels=9999))
    assert child(sandbox).pid == before


def test_more_memory_than_allowed_is_refused_and_the_process_goes_on(sandbox):
    data, before = encoded((6000, 6000), mode="1"), child(sandbox).pid
    with pytest.raises(ImageTooCostly, match="memory"):
        sandbox.prepare(data, PreprocessKnobs(decode_memory_mb=64))
    assert sandbox.prepare(data, KNOBS).size == (6000, 6000)
    assert child(sandbox).pid == before


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("RGB", "JPEG"), ("1", "PNG")])
def test_the_largest_picture_allowed_fits_the_memory_allowed(sandbox, mode, kind):
    options = {"compress_level": 1} if kind == "PNG" else {}
    tiles = sandbox.prepare(encoded((7000, 7000), kind, mode, **options), PreprocessKnobs(decode_timeout_s=60))
    assert tiles.size == (7000, 7000)


def hung(sandbox, knobs=KNOBS):
    """A call that its process, stopped, has been given and does not take up."""
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    process = child(sandbox)
    process.send_signal(signal.SIGSTOP)
    pool = ThreadPoolExecutor(1)
    call = pool.submit(sandbox.prepare, encoded((100, 100)), knobs)
    while not struct.unpack("i", fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, b"\0" * 4))[0]:
        time.sleep(0.01)
    pool.shutdown(wait=False)
    return process, call


def test_a_process_that_crashes_fails_one_request(sandbox):
    process, call = hung(sandbox)
    process.kill()
    with pytest.raises(ImageTooCostly, match="could not be decoded"):
        call.result(60)
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    assert child(sandbox).pid != process.pid


def test_a_process_that_hangs_is_replaced_when_its_time_is_over(sandbox):
    process, call = hung(sandbox, PreprocessKnobs(decode_timeout_s=0.3))
    with pytest.raises(ImageTooCostly, match="too long"):
        call.result(60)
    assert process.poll() == -signal.SIGKILL
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)


def test_a_process_killed_between_two_pictures_harms_neither(sandbox):
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    child(sandbox).kill()
    child(sandbox).wait()
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)


def test_the_process_has_none_of_our_environment_and_ends_with_us(sandbox, monkeypatch):
    monkeypatch.setenv("TUWEN_SECRET", "x")
    other = Sandbox(1)
    process = child(other)
    assert other.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    assert b"TUWEN_SECRET" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    process.stdin.close()  # as when the parent dies
    assert process.wait(60) == 0
    other.close()


def test_many_threads_share_the_processes():
    sandbox = Sandbox(2)
    with ThreadPoolExecutor(8) as threads:
        sizes = [(28 * n, 56) for n in range(1, 41)]
        found = list(threads.map(lambda size: sandbox.prepare(encoded((size[0] * 8, 448)), KNOBS).size, sizes))
    sandbox.close()
    assert found == [(width * 8, 448) for width, _ in sizes]


def test_memory_stays_flat_over_many_pictures(sandbox):
    """Whole pictures and damaged ones: neither side keeps anything of them."""
    good = [encoded((400 + 8 * n, 300), kind) for n in range(8) for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    files = [*good, *(data[: len(data) // 2] for data in good)]

    def pages(pid):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])

    def a_round():
        for data in files:
            with suppress(ImageTruncated):
                sandbox.prepare(data, KNOBS)
        return pages(child(sandbox).pid), pages(os.getpid())

    for _ in range(3):
        before = a_round()
    for _ in range(5):
        after = a_round()
    assert all(now < then * 1.05 for now, then in zip(after, before, strict=True))


def test_a_zip_bomb_in_a_text_chunk_is_not_unpacked(sandbox):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    whole = encoded((64, 64))
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 300_000_000, 9))
    with pytest.raises(ImageTruncated):
        sandbox.prepare(whole[:33] + bomb + whole[33:], KNOBS)
