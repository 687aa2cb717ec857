"""The decoding process: what it gives is what the function gives, and no file outlives its own request."""

import asyncio
import errno
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
from deployments.errors import (
    DeadlineExceeded,
    ImageTooCostly,
    ImageTruncated,
    NotAnImage,
    Overloaded,
    TooManyPixels,
    Unavailable,
)
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


def process(sandbox):
    return sandbox._workers[0].process


def child(sandbox):
    return process(sandbox)._child


def spare(sandbox):
    """The process that stands ready to take over."""
    found = sandbox._spares._spare
    found.wait_ready()
    return found


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


def wait_given(process):
    """Until a stopped process has been given a job that it does not take up, or has been ended for that."""
    while (
        not process.stdin.closed
        and not struct.unpack("i", fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, b"\0" * 4))[0]
    ):
        time.sleep(0.01)


def hung(sandbox, knobs=KNOBS):
    """A call that its process, stopped, has been given and does not take up."""
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    stopped = child(sandbox)
    stopped.send_signal(signal.SIGSTOP)
    pool = ThreadPoolExecutor(1)
    call = pool.submit(sandbox.prepare, encoded((100, 100)), knobs)
    wait_given(stopped)
    pool.shutdown(wait=False)
    return stopped, call


def test_a_picture_whose_process_is_killed_from_outside_is_tried_once_more(sandbox):
    killed, call = hung(sandbox)
    killed.kill()
    assert call.result(60).size == (100, 100)
    assert child(sandbox).pid != killed.pid


def test_a_picture_that_costs_two_processes_is_refused(sandbox):
    killed, call = hung(sandbox)
    second = spare(sandbox)._child
    second.send_signal(signal.SIGSTOP)
    killed.kill()
    wait_given(second)
    second.kill()
    with pytest.raises(ImageTooCostly, match="could not be decoded"):
        call.result(60)
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)


def test_where_no_process_can_start_it_is_nobody_s_fault_and_no_picture_s(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/bin/false")
        sandbox = Sandbox(1)
        with pytest.raises(Unavailable):
            sandbox.prepare(encoded((100, 100)), KNOBS)
        with pytest.raises(Unavailable):
            sandbox.check()
    sandbox.check()
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    sandbox.close()


@pytest.mark.parametrize("call", ["memfd_create", "eventfd", "pwrite"])
def test_a_machine_out_of_files_or_memory_is_no_picture_s_fault(sandbox, monkeypatch, call):
    def fails(*_):
        raise OSError(errno.EMFILE, "too many open files")

    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    if call == "memfd_create":
        spare(sandbox)._child.kill()
        spare(sandbox)._child.wait()
        child(sandbox).kill()
        child(sandbox).wait()
    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", fails)
        with pytest.raises(Unavailable):
            sandbox.prepare(encoded((100, 100)), KNOBS)
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)


def test_who_hangs_up_while_waiting_leaves_the_queue_at_once(sandbox):
    (stopped, call), data = hung(sandbox), encoded((1000, 1000))

    async def hang_up():
        waiting = [asyncio.create_task(sandbox.prepared(data, KNOBS)) for _ in range(16)]
        while sandbox.waiting < 16:
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return all(task.cancelled() for task in waiting)

    assert asyncio.run(hang_up())
    assert sandbox.waiting == 0
    stopped.send_signal(signal.SIGCONT)
    assert call.result(60).size == (100, 100)
    assert child(sandbox).pid == stopped.pid


def test_who_hangs_up_during_decoding_holds_up_nobody_for_long(sandbox):
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    stopped = child(sandbox)
    spare(sandbox)
    stopped.send_signal(signal.SIGSTOP)

    async def hang_up():
        call = asyncio.create_task(sandbox.prepared(encoded((100, 100)), KNOBS))
        await asyncio.to_thread(wait_given, stopped)
        call.cancel()
        began = time.monotonic()
        tiles = await sandbox.prepared(encoded((100, 100)), KNOBS)
        return tiles.size, time.monotonic() - began

    size, waited_s = asyncio.run(hang_up())
    assert size == (100, 100)
    assert waited_s < KNOBS.decode_timeout_s / 3
    assert stopped.returncode == -signal.SIGKILL


def test_a_deadline_holds_in_the_queue_and_in_the_process(sandbox):
    async def late(deadline):
        with pytest.raises(DeadlineExceeded):
            await sandbox.prepared(encoded((100, 100)), KNOBS, deadline=deadline)

    asyncio.run(late(time.time() - 1))
    stopped, call = hung(sandbox)
    asyncio.run(late(time.time() + 0.1))
    with pytest.raises(DeadlineExceeded):
        sandbox.prepare(encoded((100, 100)), KNOBS, deadline=time.time() + 0.1)
    assert sandbox.waiting == 0
    stopped.kill()
    assert call.result(60).size == (100, 100)
    child(sandbox).send_signal(signal.SIGSTOP)
    asyncio.run(late(time.time() + 0.2))
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)


def test_more_bytes_than_may_wait_are_refused_for_now(sandbox):
    stopped, call = hung(sandbox)
    file, knobs = b"x" * 700_000, PreprocessKnobs(waiting_mb=1)

    async def crowd():
        first = asyncio.create_task(sandbox.prepared(file, knobs))
        while not sandbox.waiting:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await sandbox.prepared(file, knobs)
        stopped.send_signal(signal.SIGCONT)
        with pytest.raises(NotAnImage):
            await first
        with pytest.raises(NotAnImage):
            await sandbox.prepared(file, knobs)

    asyncio.run(crowd())
    assert call.result(60).size == (100, 100)


def test_the_shared_memory_holds_only_the_present_picture(sandbox):
    def contents(file):
        return os.pread(file, os.fstat(file).st_size, 0)

    first, second = encoded((640, 480), "BMP"), encoded((100, 100))
    sandbox.prepare(first, KNOBS)
    assert not any(contents(process(sandbox)._target))
    sandbox.prepare(second, KNOBS)
    source = contents(process(sandbox)._source)
    assert source[: len(second)] == second
    assert not any(source[len(second) :])
    assert not any(contents(process(sandbox)._target))


def test_the_process_is_confined_by_all_that_this_kernel_offers(sandbox):
    sandbox.prepare(encoded((100, 100)), KNOBS)
    status = Path(f"/proc/{child(sandbox).pid}/status").read_text()
    in_force = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert ("no new privileges" in sandbox.confined) == (in_force["NoNewPrivs"] == "1")
    assert ("seccomp" in sandbox.confined) == (in_force["Seccomp"] == "2")
    assert {"limits", "no new privileges", "memory closed to others"} <= set(sandbox.confined)


def test_a_process_that_hangs_is_replaced_when_its_time_is_over(sandbox):
    stopped, call = hung(sandbox, PreprocessKnobs(decode_timeout_s=0.3))
    with pytest.raises(ImageTooCostly, match="too long"):
        call.result(60)
    assert stopped.poll() == -signal.SIGKILL
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)


def test_a_process_killed_between_two_pictures_harms_neither(sandbox):
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    child(sandbox).kill()
    child(sandbox).wait()
    assert sandbox.prepare(encoded((100, 100)), KNOBS).size == (100, 100)


def test_the_process_has_none_of_our_environment_and_ends_with_us(sandbox, monkeypatch):
    monkeypatch.setenv("TUWEN_SECRET", "x")
    other = Sandbox(1)
    started = child(other)
    assert other.prepare(encoded((100, 100)), KNOBS).size == (100, 100)
    with suppress(PermissionError):  # its memory is closed to all but root
        assert b"TUWEN_SECRET" not in Path(f"/proc/{started.pid}/environ").read_bytes()
    started.stdin.close()  # as when the parent dies
    assert started.wait(60) == 0
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
    assert sandbox.prepare(whole[:33] + bomb + whole[33:], PreprocessKnobs(decode_memory_mb=64)).size == (64, 64)
