"""A request at a replica that hangs is found out by asking who has been silent, and given up for another attempt."""

import asyncio
import time
from contextlib import aclosing
from functools import wraps

import pytest

from deployments.contract import Level, Load
from deployments.errors import Unavailable
from deployments.ingress.fleet import Fleet
from deployments.ingress.patience import Patience

SOON_S = 0.02


def run(test):
    @wraps(test)
    def runs():
        asyncio.run(test())

    return runs


class Place:
    """Two replicas, of which those in ``hanging`` do not answer when asked."""

    def __init__(self, *hanging):
        self.hanging, self.asked, self.fleet = set(hanging), [], Fleet()
        for replica in ("a", "b"):
            self.says(replica)
        self.patience = Patience(self.fleet, self.answers, time.time)

    def says(self, replica):
        self.fleet.heard(Load(1, 0, Level.FULL, replica, 4), time.time())

    async def answers(self, replica):
        self.asked.append(replica)
        return replica not in self.hanging

    def wait(self, work):
        return self.patience.wait(work, SOON_S)


async def late(result, after_s=5 * SOON_S):
    await asyncio.sleep(after_s)
    return result


@run
async def test_what_comes_in_time_is_handed_on_and_nobody_asked():
    place = Place("a")
    assert await place.wait(late("text", 0)) == "text"
    assert place.asked == []


@run
async def test_a_long_answer_is_waited_for_while_all_are_there():
    place = Place()
    assert await place.wait(late("text")) == "text"
    assert set(place.asked) == {"a", "b"}


@run
async def test_a_fault_is_handed_on():
    async def failing():
        await asyncio.sleep(2 * SOON_S)
        raise KeyError("its own")

    with pytest.raises(KeyError):
        await Place().wait(failing())


@run
async def test_a_replica_that_hangs_ends_the_wait_and_counts_no_longer():
    place, ended = Place("b"), asyncio.Event()

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(Unavailable):
        await place.wait(forever())
    assert ended.is_set()
    assert place.fleet.replicas == 1
    assert await place.wait(late("text")) == "text"


@run
async def test_all_that_waited_are_told_whoever_asked():
    place = Place("b")
    waiting = [asyncio.create_task(place.wait(asyncio.Event().wait())) for _ in range(5)]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(fault) for fault in found] == [Unavailable] * 5


@run
async def test_what_another_finds_out_once_more_does_not_end_the_second_attempt():
    place = Place("b")
    with pytest.raises(Unavailable):
        await place.wait(asyncio.Event().wait())
    second = asyncio.create_task(place.wait(late("text", 3 * SOON_S)))
    await asyncio.sleep(SOON_S / 2)
    await place.patience._look("b")
    assert await second == "text"


@run
async def test_one_that_has_spoken_since_is_not_asked():
    place = Place("a", "b")
    waiting = asyncio.create_task(place.wait(late("text", 1.5 * SOON_S)))
    await asyncio.sleep(SOON_S / 2)
    place.says("a")
    place.says("b")
    assert await waiting == "text"
    assert place.asked == []


@run
async def test_a_stream_s_first_word_is_waited_for_in_this_way_and_its_end_is_an_end():
    async def words(*said):
        for word in said:
            yield word

    place = Place()
    assert [word async for word in place.patience.first(words("a", "b"))] == ["a", "b"]
    assert [word async for word in place.patience.first(words())] == []


@run
async def test_a_stream_that_is_left_early_is_closed():
    closed = asyncio.Event()

    async def words():
        try:
            while True:
                yield "a"
        finally:
            closed.set()

    async with aclosing(Place().patience.first(words())) as items:
        await anext(items)
    assert closed.is_set()
