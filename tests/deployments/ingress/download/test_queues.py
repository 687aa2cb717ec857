"""What downloads wait for: turns for bodies and memory for bytes. Who waits or goes away holds nothing that others need."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from deployments.errors import FetchFailed, FetchTimeout, ImageTooLarge, Overloaded, TuwenError
from deployments.ingress.download.body import STEP_BYTES
from deployments.ingress.download.fetch import Fetcher
from deployments.ingress.download.settings import FetchKnobs
from deployments.ingress.uploads import ByteBudget

from .internet import MAX_BYTES, NO_TRUST, PICTURE, PUBLIC, Internet, Respond, forever, head, ok

pytestmark = pytest.mark.filterwarnings("error")

SLOW, SLOW_TOO = "198.41.0.4", "198.41.0.5"  # neighbours
QUICK = "http://pictures.example.org/a.png"
DRIP = forever(head(200, "Content-Length: 90000"), b"a", 0.02)
SILENCE = forever(b"", b"", 0.02)
AT_ONCE_S = 2.0
"""Far above what a quick download takes, and far below the deadline of the slow ones."""


def internet(**more: Any) -> Internet:
    names: dict[str, list[Sequence[str]]] = {"pictures.example.org": [[PUBLIC]], "slow.example.com": [[SLOW]]}
    names |= {f"{number}.slow.example.com": [[SLOW if number % 2 else SLOW_TOO]] for number in range(64)}
    names |= {f"pictures.slow{number}.com": [[SLOW]] for number in range(64)}
    return Internet(names, **more)


async def gone(tasks: Sequence[asyncio.Task[bytes]]) -> Sequence[object]:
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("respond", [pytest.param(DRIP, id="drip"), pytest.param(SILENCE, id="silence")])
@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://slow.example.com/a?{}", id="one name"),
        pytest.param("http://{}.slow.example.com/", id="a name each"),
        pytest.param("http://pictures.slow{}.com/", id="a zone each"),
        pytest.param("http://" + SLOW + "/{}", id="an address"),
    ],
)
def test_a_quick_download_beside_64_of_a_slow_host_is_done_at_once(url: str, respond: Respond) -> None:
    net = internet()

    async def scenario() -> bytes:
        async with net.site(respond, SLOW), net.site(respond, SLOW_TOO), net.site(ok()):
            fetcher = net.fetcher()
            slow = [
                asyncio.create_task(fetcher.fetch(url.format(number), FetchKnobs(), MAX_BYTES)) for number in range(64)
            ]
            await until(lambda: len(net.requests) == 64)
            async with asyncio.timeout(AT_ONCE_S):
                picture = await fetcher.fetch(QUICK, FetchKnobs(), MAX_BYTES)
            assert not any(task.done() for task in slow)
            await gone(slow)
            return picture

    assert asyncio.run(scenario()) == PICTURE


def test_hosts_that_never_answer_hold_no_turn() -> None:
    addresses = [f"198.41.{number}.4" for number in range(64)]
    net = internet(never_answer=frozenset(addresses))

    async def scenario() -> bytes:
        fetcher, knobs = net.fetcher(), FetchKnobs(max_concurrent=1)
        async with net.site(ok()):
            slow = [asyncio.create_task(fetcher.fetch(f"http://{to}/", knobs, MAX_BYTES)) for to in addresses]
            await until(lambda: len(net.dialled) == 64)
            async with asyncio.timeout(AT_ONCE_S):
                picture = await fetcher.fetch(QUICK, knobs, MAX_BYTES)
            await gone(slow)
            return picture

    assert asyncio.run(scenario()) == PICTURE


def test_whose_time_goes_by_in_our_queue_is_told_so_and_the_host_is_not_blamed() -> None:
    net = internet()

    async def scenario() -> None:
        async with net.site(DRIP, SLOW), net.site(ok()):
            fetcher = net.fetcher()
            knobs = FetchKnobs(max_concurrent=1)
            holder = asyncio.create_task(fetcher.fetch("http://slow.example.com/", knobs, MAX_BYTES))
            await until(lambda: fetcher.receiving == 1)
            with pytest.raises(Overloaded, match="too many pictures are being downloaded"):
                await fetcher.fetch(QUICK, knobs.model_copy(update={"timeout_s": 0.2}), MAX_BYTES)
            with pytest.raises(FetchTimeout, match=r"^slow\.example\.com did not deliver"):
                await fetcher.fetch("http://slow.example.com/", FetchKnobs(timeout_s=0.2, max_concurrent=8), MAX_BYTES)
            await gone([holder])
            assert await fetcher.fetch(QUICK, knobs, MAX_BYTES) == PICTURE

    asyncio.run(scenario())


def test_a_caller_whose_own_deadline_comes_first_leaves_queue_and_socket_at_once() -> None:
    """As the pipeline does: its deadline is around the whole download, whatever ``timeout_s`` says."""
    net = internet()

    async def scenario() -> None:
        async with net.site(DRIP, SLOW), net.site(ok()):
            fetcher, knobs = net.fetcher(), FetchKnobs(timeout_s=60, max_concurrent=1)
            began = time.monotonic()
            for url in ("http://slow.example.com/", "http://slow.example.com/b"):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await fetcher.fetch(url, knobs, MAX_BYTES)
                assert net.sockets[-1].fileno() == -1
            holder = asyncio.create_task(fetcher.fetch("http://slow.example.com/", knobs, MAX_BYTES))
            await until(lambda: fetcher.receiving == 1)
            waiting = [asyncio.create_task(fetcher.fetch(QUICK, knobs, MAX_BYTES)) for _ in range(10)]
            await until(lambda: fetcher.queued == 10)
            await gone(waiting)
            assert fetcher.queued == 0
            assert all(used.fileno() == -1 for used in net.sockets[-10:])
            await gone([holder])
            assert fetcher.receiving == 0
            assert time.monotonic() - began < 10

    asyncio.run(scenario())


class Recorded(ByteBudget):
    """The service's own budget, which tells what has been asked of it."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.asked: list[int] = []
        self.most_held = 0

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        self.asked.append(size)
        async with super().hold(size):
            self.most_held = max(self.most_held, self.held)
            yield


@pytest.mark.parametrize(
    ("answer", "steps"),
    [
        pytest.param(ok(b"a" * 1_000), [1_000], id="small"),
        pytest.param(ok(b"a" * 3_000_000), [STEP_BYTES, STEP_BYTES, 3_000_000 - 2 * STEP_BYTES], id="announced"),
        pytest.param(head(200) + b"a" * 3_000_000, [STEP_BYTES] * 3, id="not announced"),
        pytest.param(head(200, "Transfer-Encoding: chunked") + b"4\r\nabcd\r\n0\r\n\r\n", [STEP_BYTES], id="chunked"),
        pytest.param(head(200, "Content-Length: 2", "Transfer-Encoding: chunked") + b"4\r\nabcd\r\n0\r\n\r\n", [2, STEP_BYTES], id="both"),
        pytest.param(ok(b""), [], id="empty"),
    ],
)  # fmt: skip
def test_what_a_body_holds_of_the_budget(answer: bytes, steps: list[int]) -> None:
    net = internet()

    async def scenario() -> None:
        budget = Recorded(10_000_000)
        async with net.site(answer):
            await Fetcher(net.resolve, net, NO_TRUST, budget).fetch(QUICK, FetchKnobs(), 5_000_000)
        assert budget.asked == steps
        assert (budget.most_held, budget.held) == (sum(steps), 0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("respond", "error"),
    [
        pytest.param(forever(head(200), b"a" * 65536), ImageTooLarge, id="too large"),
        pytest.param(head(200, "Content-Length: 900000") + b"a" * 500_000, FetchFailed, id="ends early"),
        pytest.param(DRIP, FetchTimeout, id="drips"),
    ],
)
def test_a_download_that_fails_gives_all_bytes_back(respond: Respond | bytes, error: type[TuwenError]) -> None:
    net = internet()

    async def scenario() -> None:
        budget = Recorded(10_000_000)
        async with net.site(respond):
            with pytest.raises(error):
                await Fetcher(net.resolve, net, NO_TRUST, budget).fetch(QUICK, FetchKnobs(timeout_s=0.5), 2_000_000)
        assert budget.most_held > 0
        assert budget.held == 0

    asyncio.run(scenario())


def test_whoever_waits_in_vain_for_memory_is_told_that_we_are_busy() -> None:
    net = internet()

    async def scenario() -> None:
        budget = Recorded(200_000)
        async with net.site(DRIP, SLOW), net.site(ok(b"a" * 150_000)):
            fetcher = Fetcher(net.resolve, net, NO_TRUST, budget)
            holder = asyncio.create_task(fetcher.fetch("http://slow.example.com/", FetchKnobs(), MAX_BYTES * 2))
            await until(lambda: budget.held == 90_000)
            with pytest.raises(Overloaded, match="too many pictures are being downloaded"):
                await fetcher.fetch(QUICK, FetchKnobs(timeout_s=0.3), MAX_BYTES * 2)
            await gone([holder])
            assert len(await fetcher.fetch(QUICK, FetchKnobs(), MAX_BYTES * 2)) == 150_000
        assert budget.most_held == 150_000

    asyncio.run(scenario())


def test_a_host_that_announces_much_and_sends_little_holds_little() -> None:
    net = internet()

    async def scenario() -> None:
        budget = Recorded(40 * STEP_BYTES)
        async with net.site(forever(head(200, "Content-Length: 20000000"), b"a", 0.02), SLOW):
            fetcher = Fetcher(net.resolve, net, NO_TRUST, budget)
            slow = [
                asyncio.create_task(fetcher.fetch("http://slow.example.com/", FetchKnobs(), 20_000_000))
                for _ in range(64)
            ]
            await until(lambda: len(budget.asked) == 16)
            await gone(slow)
        assert budget.most_held == 16 * STEP_BYTES

    asyncio.run(scenario())
