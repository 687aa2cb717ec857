"""Look-ups: slow names, name servers that lie or are silent, and callers who go away hold up nobody else."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from deployments.errors import BlockedAddress, FetchFailed, FetchTimeout
from deployments.ingress.download.addresses import Address
from deployments.ingress.download.fetch import Fetcher
from deployments.ingress.download.lookups import LOOKUPS, MAX_ADDRESSES, Lookups
from deployments.ingress.download.settings import FetchKnobs

from .internet import MAX_BYTES, NO_TRUST, PICTURE, PUBLIC, PUBLIC_V6, Internet, ok
from .nameserver import NameServer

pytestmark = pytest.mark.filterwarnings("error")

QUICK = "http://pictures.example.org/a.png"
AT_ONCE_S = 2.0
"""Far above what it takes, and far below what a slow name takes."""


class Slow:
    """At the seam: names under slow.example.com are answered when the test says so, all others at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.fault: Exception | None = None

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        if "slow.example.com" in host:
            await self.answers.wait()
        if self.fault is not None:
            raise self.fault
        return [ip_address(PUBLIC)]


async def gone(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def asked(slow: Slow, count: int) -> None:
    async with asyncio.timeout(5):
        while len(slow.asked) < count:
            await asyncio.sleep(0)


@pytest.mark.parametrize("count", [64, 1000])
def test_a_quick_download_beside_slow_names_is_done_at_once(count: int) -> None:
    """The real resolver, and a name server that is silent on a whole zone."""

    async def scenario() -> bytes:
        names = NameServer({"pictures.example.org": [PUBLIC]}, silent=("slow.example.com",))
        internet = Internet()
        async with names.resolver() as resolve, internet.site(ok()):
            fetcher = Fetcher(resolve, internet, NO_TRUST)
            slow = [
                asyncio.create_task(fetcher.fetch(f"http://{number}.slow.example.com/", FetchKnobs(), MAX_BYTES))
                for number in range(count)
            ]
            async with asyncio.timeout(5):
                while len(names.asked) < min(count, LOOKUPS // 2):
                    await asyncio.sleep(0.001)
            async with asyncio.timeout(AT_ONCE_S):
                picture = await fetcher.fetch(QUICK, FetchKnobs(), MAX_BYTES)
            await gone(slow)
        assert len({name for name in names.asked if "slow" in name}) <= LOOKUPS // 2
        return picture

    assert asyncio.run(scenario()) == PICTURE


def test_a_slow_name_meets_the_downloads_deadline() -> None:
    async def scenario() -> None:
        names, knobs = NameServer(silent=("slow.example.com",)), FetchKnobs(timeout_s=0.1)
        async with names.resolver() as resolve:
            fetcher = Fetcher(resolve, trust=NO_TRUST)
            with pytest.raises(FetchTimeout):
                await fetcher.fetch("http://slow.example.com/", knobs, MAX_BYTES)

    asyncio.run(scenario())


def test_equal_names_at_the_same_time_are_asked_for_once() -> None:
    async def scenario() -> None:
        slow = Slow()
        lookups = Lookups(slow)
        tasks = [asyncio.create_task(lookups("slow.example.com.", 80)) for _ in range(100)]
        await asked(slow, 1)
        await gone(tasks[:1])  # the first caller's end is not the others'
        slow.answers.set()
        found = await asyncio.gather(*tasks[1:])
        assert found == [[ip_address(PUBLIC)]] * 99
        assert slow.asked == ["slow.example.com."]
        await lookups("slow.example.com.", 80)  # and nothing is kept
        assert len(slow.asked) == 2

    asyncio.run(scenario())


def test_a_failure_is_every_callers_who_waited_and_nobody_elses() -> None:
    async def scenario() -> None:
        slow = Slow()
        slow.fault = OSError("server failure")
        lookups = Lookups(slow)
        tasks = [asyncio.create_task(lookups("slow.example.com.", 80)) for _ in range(3)]
        await asked(slow, 1)
        slow.answers.set()
        assert all(isinstance(fault, OSError) for fault in await asyncio.gather(*tasks, return_exceptions=True))
        slow.fault = None
        assert await lookups("slow.example.com.", 80) == [ip_address(PUBLIC)]

    asyncio.run(scenario())


def test_one_zone_has_half_of_the_look_ups_at_most_and_others_are_asked_at_once() -> None:
    async def scenario() -> None:
        slow = Slow()
        lookups = Lookups(slow, total=8)
        tasks = [asyncio.create_task(lookups(f"{number}.slow.example.com.", 80)) for number in range(100)]
        await asked(slow, 4)
        assert await lookups("pictures.example.org.", 80)
        assert len(slow.asked) == 5
        slow.answers.set()
        assert len(await asyncio.gather(*tasks)) == 100
        assert len(slow.asked) == 101

    asyncio.run(scenario())


def test_asking_and_hanging_up_does_not_ask_without_limit() -> None:
    async def scenario() -> None:
        slow = Slow()
        lookups = Lookups(slow, total=8)
        for number in range(100):
            caller = asyncio.create_task(lookups(f"{number}.slow.example.com.", 80))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await gone([caller])
            assert caller.cancelled()
        assert len(slow.asked) == 4
        assert await lookups("pictures.example.org.", 80)
        slow.answers.set()
        async with asyncio.timeout(5):
            while not await lookups("last.slow.example.com.", 80):
                pass
        assert len(slow.asked) == 6

    asyncio.run(scenario())


def test_the_real_resolver_finds_all_addresses_of_both_families() -> None:
    async def scenario() -> None:
        many = [f"93.184.216.{number}" for number in range(MAX_ADDRESSES)]
        names = NameServer({"both.example.com": [PUBLIC, PUBLIC_V6], "many.example.com": many})
        async with names.resolver() as resolve:
            assert set(await resolve("both.example.com.", 80)) == {ip_address(PUBLIC), ip_address(PUBLIC_V6)}
            assert set(await resolve("many.example.com.", 80)) == set(map(ip_address, many))
            assert await resolve("unknown.example.com.", 80) == []

    asyncio.run(scenario())


def test_a_name_with_thousands_of_addresses_is_refused() -> None:
    """Its answer comes over TCP; checking them all would take the loop's time."""

    async def scenario() -> None:
        names = NameServer({"many.example.com": [f"93.184.{number // 250}.{number % 250}" for number in range(2000)]})
        async with names.resolver() as resolve:
            with pytest.raises(FetchFailed, match="could not be looked up"):
                await Fetcher(resolve, trust=NO_TRUST).fetch("http://many.example.com/", FetchKnobs(), MAX_BYTES)

    asyncio.run(scenario())


def test_a_name_server_that_fails_is_not_a_name_that_does_not_exist() -> None:
    async def scenario() -> None:
        names = NameServer(failing=("broken.example.com",))
        async with names.resolver() as resolve:
            fetcher = Fetcher(resolve, trust=NO_TRUST)
            with pytest.raises(FetchFailed, match="could not be looked up"):
                await fetcher.fetch("http://broken.example.com/", FetchKnobs(), MAX_BYTES)
            with pytest.raises(BlockedAddress):
                await fetcher.fetch("http://unknown.example.com/", FetchKnobs(), MAX_BYTES)

    asyncio.run(scenario())
