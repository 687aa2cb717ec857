"""Pictures on their way: on disk above a size, and in memory only so many bytes at a time, first come, first served."""

import asyncio
import random
from contextlib import suppress
from tempfile import SpooledTemporaryFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingress.uploads import SPOOL_BYTES, ByteBudget, Upload


@pytest.mark.parametrize("size", [0, 1, SPOOL_BYTES, SPOOL_BYTES + 1, 3 * SPOOL_BYTES])
def test_an_upload_gives_back_what_arrived_as_often_as_it_is_asked(size):
    data = random.Random(size).randbytes(size)
    upload = Upload.of(data)
    assert upload.size == size
    for _ in range(2):
        assert asyncio.run(upload.read()) == data
    upload.close()


def test_a_large_one_is_on_disk_and_a_small_one_is_not():
    for size, on_disk in ((SPOOL_BYTES, False), (SPOOL_BYTES + 1, True)):
        upload = Upload.of(bytes(size))
        assert upload._file._rolled is on_disk
        upload.close()
        assert upload._file.closed


def test_its_size_is_all_of_it_wherever_its_writer_stood():
    with SpooledTemporaryFile(SPOOL_BYTES) as file:
        file.write(b"picture")
        file.seek(2)
        upload = Upload(file)
        assert (upload.size, asyncio.run(upload.read())) == (7, b"picture")


class Holder:
    """Somebody who holds bytes until it is told to let go."""

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self.size, self.holds, self._let_go = size, False, asyncio.Event()
        self.task = asyncio.ensure_future(self._hold(budget))

    async def _hold(self, budget: ByteBudget) -> None:
        async with budget.hold(self.size):
            self.holds = True
            try:
                await self._let_go.wait()
            finally:
                self.holds = False

    async def done(self) -> None:
        self._let_go.set()
        await self.task

    async def cancelled(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def settled() -> None:
    """Everybody has gone as far as they can: a hand-over takes two turns of the loop."""
    for _ in range(4):
        await asyncio.sleep(0)


async def holders(budget: ByteBudget, *sizes: int) -> list[Holder]:
    found = [Holder(budget, size) for size in sizes]
    await settled()
    return found


def holding(these: list[Holder]) -> list[bool]:
    return [holder.holds for holder in these]


def test_bytes_are_handed_out_in_order_and_nobody_is_overtaken():
    async def scene() -> None:
        budget = ByteBudget(10)
        a, b, c, d = these = await holders(budget, 6, 6, 1, 4)
        assert holding(these) == [True, False, False, False]  # though the small ones would fit
        await a.done()
        await settled()
        assert holding(these) == [False, True, True, False]
        await c.done()
        await settled()
        assert holding(these) == [False, True, False, True]
        for holder in (b, d):
            await holder.done()
        assert budget.held == 0

    asyncio.run(scene())


def test_one_larger_than_everything_goes_alone():
    async def scene() -> None:
        budget = ByteBudget(10)
        small, large, after = these = await holders(budget, 1, 50, 1)
        assert holding(these) == [True, False, False]
        await small.done()
        await settled()
        assert holding(these) == [False, True, False]
        await large.done()
        await settled()
        assert holding(these) == [False, False, True]
        await after.done()
        assert budget.held == 0

    asyncio.run(scene())


def test_whoever_is_cancelled_leaves_and_lets_the_next_in():
    async def scene() -> None:
        budget = ByteBudget(10)
        first, waiting, behind = these = await holders(budget, 5, 50, 5)
        await waiting.cancelled()
        await settled()
        assert holding(these) == [True, False, True]
        await first.cancelled()
        await behind.cancelled()
        assert (budget.held, len(budget._waiting)) == (0, 0)

    asyncio.run(scene())


def test_one_cancelled_in_the_moment_of_its_turn_gives_it_on():
    async def scene() -> None:
        budget = ByteBudget(10)
        first, second, third = these = await holders(budget, 10, 10, 10)
        first._let_go.set()
        await asyncio.sleep(0)  # it lets go: the turn has been handed to the second, which has not been woken yet
        second.task.cancel()
        await settled()
        assert holding(these) == [False, False, True]
        await third.done()
        assert budget.held == 0

    asyncio.run(scene())


def test_a_limit_that_rises_lets_in_at_once_who_now_fits():
    async def scene() -> None:
        budget = ByteBudget(10)
        these = await holders(budget, 10, 10, 10, 10)
        budget.limit = 30
        await settled()
        assert holding(these) == [True, True, True, False]
        for holder in these:
            await holder.done()

    asyncio.run(scene())


def test_a_limit_that_falls_takes_nothing_from_who_holds():
    async def scene() -> None:
        budget = ByteBudget(30)
        these = await holders(budget, 10, 10, 10, 10)
        budget.limit = 10
        await these[0].done()
        await these[1].done()
        await settled()
        assert holding(these) == [False, False, True, False]
        await these[2].done()
        await settled()
        assert holding(these) == [False, False, False, True]
        await these[3].done()

    asyncio.run(scene())


def test_a_fault_while_holding_gives_back():
    async def scene() -> None:
        budget = ByteBudget(10)
        with pytest.raises(RuntimeError):
            async with budget.hold(7):
                raise RuntimeError
        assert budget.held == 0

    asyncio.run(scene())


STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "go", "cancel", "limit", "turn"]), st.integers(0, 40)), min_size=1, max_size=60
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_happens_nothing_leaks_and_nobody_is_forgotten(steps):
    async def scene() -> None:
        budget = ByteBudget(20)
        everybody: list[Holder] = []
        for what, number in steps:
            if what == "come":
                everybody.append(Holder(budget, number))
            elif what == "go" and everybody:
                everybody[number % len(everybody)]._let_go.set()
            elif what == "cancel" and everybody:
                everybody[number % len(everybody)].task.cancel()
            elif what == "limit":
                budget.limit = number
            else:
                await asyncio.sleep(0)
        await settled()
        inside = [holder.size for holder in everybody if holder.holds]
        assert budget.held == sum(inside)
        if budget._waiting:
            assert budget.held
            assert budget.held + budget._waiting[0][0] > budget.limit
        for holder in everybody:
            holder._let_go.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*(holder.task for holder in everybody), return_exceptions=True)
        assert (budget.held, len(budget._waiting)) == (0, 0)

    asyncio.run(scene())
