"""Turns: never more than there are, none lost, none overtaken, and one left for whoever comes next."""

import asyncio
from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.download.turns import Turns, neighbourhood, zone


async def taken(turns: Turns, *keys: str) -> asyncio.Task[None]:
    """A taker who has come as far as possible."""
    task = asyncio.create_task(turns.take(keys))
    await settled()
    return task


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def gone(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("hogs", "each"), [(1, 16), (2, 11), (3, 8), (7, 4), (15, 2)])
def test_hosts_that_keep_their_turns_share_them_and_leave_some(hogs: int, each: int) -> None:
    async def scenario() -> None:
        turns = Turns(32)
        wanting = [[await taken(turns, f"hog {number}") for number in range(hogs)] for _ in range(40)]
        held = Counter(number for row in wanting for number, task in enumerate(row) if task.done())
        assert max(held.values()) <= each
        assert sum(held.values()) < 32
        assert (await taken(turns, "somebody else")).done()
        await gone(*(task for row in wanting for task in row))

    asyncio.run(scenario())


def test_a_turn_needs_room_under_each_of_its_keys() -> None:
    async def scenario() -> None:
        turns = Turns(4)
        assert (await taken(turns, "network", "a.com")).done()
        assert (await taken(turns, "network", "b.com")).done()
        third = await taken(turns, "network", "c.com")
        assert not third.done()
        assert (await taken(turns, "elsewhere", "c.com")).done()
        turns.give_back(["network", "a.com"])
        await settled()
        assert third.done()

    asyncio.run(scenario())


def test_first_come_first_served_among_those_who_may() -> None:
    async def scenario() -> None:
        turns = Turns(2)
        assert (await taken(turns, "a")).done()
        waiting = {name: await taken(turns, "a") for name in ("first", "second")}
        waiting["other"] = await taken(turns, "b")
        assert [name for name, task in waiting.items() if task.done()] == ["other"]
        turns.give_back(["b"])
        await settled()
        assert not waiting["first"].done()
        turns.give_back(["a"])
        await settled()
        assert [name for name, task in waiting.items() if task.done()] == ["first", "other"]
        await gone(waiting["second"])
        assert turns.waiting == 0

    asyncio.run(scenario())


def test_one_turn_is_enough_for_everybody_in_order() -> None:
    async def scenario() -> list[int]:
        turns, order = Turns(1), []

        async def one(number: int) -> None:
            await turns.take(["same"])
            await asyncio.sleep(0)
            order.append(number)
            turns.give_back(["same"])

        await asyncio.gather(*map(one, range(10)))
        return order

    assert asyncio.run(scenario()) == list(range(10))


def test_a_waiter_that_is_cancelled_as_its_turn_comes_gives_it_back() -> None:
    async def scenario() -> None:
        turns = Turns(1)
        await turns.take(["a"])
        leaving, staying = await taken(turns, "a"), await taken(turns, "a")
        turns.give_back(["a"])  # grants, but the waiter has not run since
        leaving.cancel()
        await settled()
        assert leaving.cancelled()
        assert staying.done()

    asyncio.run(scenario())


def test_a_waiter_that_has_been_cancelled_is_passed_over() -> None:
    async def scenario() -> None:
        turns = Turns(1)
        await turns.take(["a"])
        leaving, staying = await taken(turns, "a"), await taken(turns, "a")
        leaving.cancel()
        turns.give_back(["a"])
        await settled()
        assert leaving.cancelled()
        assert staying.done()
        assert turns.waiting == 0

    asyncio.run(scenario())


def test_more_turns_are_granted_at_once_and_fewer_as_they_come_back() -> None:
    async def scenario() -> None:
        turns = Turns(1)
        await turns.take(["a"])
        second, third = await taken(turns, "b"), await taken(turns, "c")
        turns.resize(2)
        await settled()
        assert (second.done(), third.done()) == (True, False)
        turns.resize(1)
        turns.give_back(["a"])
        await settled()
        assert not third.done()
        turns.give_back(["b"])
        await settled()
        assert third.done()

    asyncio.run(scenario())


@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=60), total=st.integers(1, 6))
def test_no_turn_is_lost_or_doubled(steps: list[tuple[str, int]], total: int) -> None:
    """Whatever comes, ends and goes away in whatever order: in the end all turns are there again."""

    async def scenario() -> None:
        turns = Turns(total)
        tasks: list[tuple[str, asyncio.Task[None]]] = []
        for key, act in steps:
            holding = [pair for pair in tasks if pair[1].done()]
            waiting = [pair for pair in tasks if not pair[1].done()]
            assert len(holding) <= total
            if act == 0:
                tasks.append((key, await taken(turns, key)))
            elif act == 1 and holding:
                tasks.remove(holding[0])
                turns.give_back([holding[0][0]])
            elif waiting:
                tasks.remove(waiting[-1])
                waiting[-1][1].cancel()
        while tasks:
            await settled()
            ended = next(pair for pair in tasks if pair[1].done())  # nobody waits while nobody holds a turn
            tasks.remove(ended)
            turns.give_back([ended[0]])
        await settled()
        assert turns.waiting == 0
        for number in range(total):
            assert (await taken(turns, f"new {number}")).done()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("host", "registered"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com.", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("a.example.com.cn", "example.com.cn"),
        ("com.cn", "com.cn"),
        ("a.x7q.cc", "x7q.cc"),
        ("localhost", "localhost"),
        ("redis.default", "redis.default"),
    ],
)
def test_a_names_zone(host: str, registered: str) -> None:
    assert zone(host) == registered


@pytest.mark.parametrize(
    ("address", "network"),
    [("93.184.216.34", "93.184.216.0/24"), ("2606:2800:220:1::1", "2606:2800:220::/48")],
)
def test_an_addresss_neighbourhood(address: str, network: str) -> None:
    assert neighbourhood(ip_address(address)) == network
