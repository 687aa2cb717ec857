"""Who computes, who shares, and what happens to the others when one fails or leaves."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingress.answers.flight import Flights


class ComputeFault(Exception):
    pass


@dataclass
class Computation:
    """Counts its runs; waits for ``go``, then fails when it should."""

    value: str = "value"
    fault: Exception | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    cancelled: int = 0

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault is not None:
            raise self.fault
        return self.value


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Runs it, and fails for anything that asyncio would have complained about in the log."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await scenario
        gc.collect(1)  # a full one takes a third of a second, and what is new is here
        await asyncio.sleep(0)

    asyncio.run(watched())
    assert complaints == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


Callers = list[asyncio.Task[tuple[str, bool]]]


def start(flights: Flights[str, str], *computes: Callable[[], Awaitable[str]]) -> Callers:
    return [asyncio.create_task(flights.run("key", compute)) for compute in computes]


async def ends_of(call: Callable[[int], Coroutine[Any, Any, Any]], leaves: Sequence[int | None]) -> list[Any]:
    """What becomes of a call by each number; those with a number of turns leave after so many."""

    async def leave(task: asyncio.Task[Any], turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()

    calls = [asyncio.create_task(call(number)) for number in range(len(leaves))]
    leaving = [leave(task, turns) for task, turns in zip(calls, leaves, strict=True) if turns is not None]
    async with asyncio.timeout(20):
        await asyncio.gather(*leaving)
        return await asyncio.gather(*calls, return_exceptions=True)


def test_fifty_at_once_are_one_computation() -> None:
    async def scenario() -> None:
        flights, compute = Flights[str, str](), Computation()
        callers = start(flights, *[compute] * 50)
        await until(lambda: compute.begun > 0)
        await settled()
        assert len(flights) == 1
        compute.go.set()
        assert await asyncio.gather(*callers) == [("value", False)] + [("value", True)] * 49
        assert (compute.begun, len(flights)) == (1, 0)

    run(scenario())


def test_other_keys_and_later_callers_compute_anew() -> None:
    async def scenario() -> None:
        flights, compute = Flights[str, str](), Computation()
        compute.go.set()
        both = await asyncio.gather(flights.run("one", compute), flights.run("two", compute))
        assert [*both, await flights.run("one", compute)] == [("value", False)] * 3
        assert compute.begun == 3

    run(scenario())


def test_a_leader_who_leaves_harms_nobody() -> None:
    async def scenario() -> None:
        flights, compute = Flights[str, str](), Computation()
        leader, *followers = start(flights, *[compute] * 4)
        await settled()
        leader.cancel()
        await settled()
        assert leader.cancelled()
        compute.go.set()
        assert await asyncio.gather(*followers) == [("value", True)] * 3
        assert (compute.begun, compute.cancelled, len(flights)) == (1, 0, 0)

    run(scenario())


def test_a_follower_past_its_own_deadline_leaves_alone() -> None:
    async def scenario() -> None:
        flights, compute = Flights[str, str](), Computation()
        (leader,) = start(flights, compute)
        await settled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await flights.run("key", compute)
        compute.go.set()
        assert await leader == ("value", False)
        assert (compute.begun, compute.cancelled) == (1, 0)

    run(scenario())


def test_when_the_last_one_leaves_the_computation_ends() -> None:
    async def scenario() -> None:
        flights, compute = Flights[str, str](), Computation()
        callers = start(flights, *[compute] * 5)
        await settled()
        for caller in callers:
            assert compute.cancelled == 0
            caller.cancel()
            await settled()
        assert all(caller.cancelled() for caller in callers)
        assert (compute.begun, compute.cancelled, len(flights)) == (1, 1, 0)

    run(scenario())


def test_who_leaves_last_waits_for_the_end_and_a_newcomer_does_not_join_it() -> None:
    async def scenario() -> None:
        flights, cleaning, cleaned = Flights[str, str](), asyncio.Event(), asyncio.Event()

        async def reluctant() -> str:
            try:
                await asyncio.Event().wait()
            finally:
                cleaning.set()
                await cleaned.wait()
            raise AssertionError

        (caller,) = start(flights, reluctant)
        await settled()
        caller.cancel()
        await cleaning.wait()
        assert not caller.done()
        (newcomer,) = start(flights, compute := Computation())
        compute.go.set()
        assert await newcomer == ("value", False)
        cleaned.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert len(flights) == 0

    run(scenario())


def test_a_computation_that_fails_while_it_is_cancelled_is_no_noise() -> None:
    async def scenario() -> None:
        async def spiteful() -> str:
            try:
                await asyncio.Event().wait()
            finally:
                raise ComputeFault("on the way out")
            return ""

        (caller,) = start(Flights[str, str](), spiteful)
        await settled()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    run(scenario())


def test_a_failed_leader_keeps_its_error_and_one_follower_leads_anew() -> None:
    async def scenario() -> None:
        flights, bad, good = Flights[str, str](), Computation(fault=ComputeFault("the leader's")), Computation()
        leader, *followers = start(flights, bad, *[good] * 4)
        await settled()
        bad.go.set()
        with pytest.raises(ComputeFault, match="the leader's"):
            await leader
        await until(lambda: good.begun > 0)
        good.go.set()
        assert sorted(await asyncio.gather(*followers)) == [("value", False)] + [("value", True)] * 3
        assert (bad.begun, good.begun, len(flights)) == (1, 1, 0)

    run(scenario())


def test_followers_of_a_computation_that_cancelled_itself_lead_anew() -> None:
    async def scenario() -> None:
        flights, good = Flights[str, str](), Computation()
        good.go.set()

        async def quits() -> str:
            await asyncio.sleep(0)
            raise asyncio.CancelledError

        leader, follower = start(flights, quits, good)
        assert await follower == ("value", False)
        with pytest.raises(asyncio.CancelledError):
            await leader

    run(scenario())


def test_when_everything_fails_each_gets_its_own_error() -> None:
    async def scenario() -> None:
        flights = Flights[str, str]()
        computes = [Computation(fault=ComputeFault(str(number))) for number in range(30)]
        for compute in computes:
            compute.go.set()
        async with asyncio.timeout(20):
            errors = await asyncio.gather(*start(flights, *computes), return_exceptions=True)
        assert [str(error) for error in errors] == [str(number) for number in range(30)]
        assert [compute.begun for compute in computes] == [1] * 30
        assert len(flights) == 0

    run(scenario())


@dataclass(frozen=True)
class Caller:
    """Arrives after so many turns of the loop, computes for so many, may fail, may leave."""

    arrives: int
    takes: int
    fails: bool
    leaves: int | None


schedules = st.lists(
    st.builds(Caller, st.integers(0, 12), st.integers(0, 12), st.booleans(), st.none() | st.integers(0, 16)),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(schedules)
def test_any_schedule(schedule: list[Caller]) -> None:
    async def scenario() -> None:
        flights, begun, active = Flights[str, int](), [0] * len(schedule), set[int]()

        async def compute(number: int) -> int:
            begun[number] += 1
            active.add(number)
            assert len(active) == 1, "one computation at a time"
            try:
                for _ in range(schedule[number].takes):
                    await asyncio.sleep(0)
                if schedule[number].fails:
                    raise ComputeFault(str(number))
                return number
            finally:
                active.discard(number)

        async def call(number: int) -> tuple[int, bool]:
            for _ in range(schedule[number].arrives):
                await asyncio.sleep(0)
            return await flights.run("key", lambda: compute(number))

        ends = await ends_of(call, [who.leaves for who in schedule])
        for number, (who, end) in enumerate(zip(schedule, ends, strict=True)):
            if isinstance(end, asyncio.CancelledError):
                assert who.leaves is not None
            elif isinstance(end, BaseException):
                assert (str(end), who.fails) == (str(number), True)
            else:
                leader, shared = end
                assert shared == (leader != number)
                assert not schedule[leader].fails
        assert max(begun) <= 1
        assert (len(flights), active) == (0, set())

    run(scenario())


TEXT = [f"piece {number}, " for number in range(6)]


@dataclass(frozen=True)
class Listener:
    """As ``Caller``; says a piece a turn, and fails after so many; ``streams`` or wants the value alone."""

    arrives: int
    fails_after: int | None
    leaves: int | None
    streams: bool


listeners = st.lists(
    st.builds(Listener, st.integers(0, 12), st.none() | st.integers(0, 6), st.none() | st.integers(0, 16), st.booleans()),
    min_size=1,
    max_size=10,
)  # fmt: skip


@settings(deadline=None)
@given(listeners)
def test_any_schedule_of_listeners(schedule: list[Listener]) -> None:
    """Whoever gets the value has heard all of its text once, or none of it where nobody said it."""

    async def scenario() -> None:
        flights, active, heard = Flights[str, int](), set[int](), [""] * len(schedule)

        async def compute(number: int, say: Callable[[str], None] | None) -> int:
            active.add(number)
            assert len(active) == 1, "one computation at a time"
            try:
                for place, piece in enumerate(TEXT):
                    await asyncio.sleep(0)
                    if place == schedule[number].fails_after:
                        raise ComputeFault(str(number))
                    if say is not None:
                        say(piece)
                return number
            finally:
                active.discard(number)

        async def call(number: int) -> tuple[int, bool]:
            for _ in range(schedule[number].arrives):
                await asyncio.sleep(0)
            if not schedule[number].streams:
                return await flights.run("key", lambda: compute(number, None))
            async with aclosing(flights.follow("key", lambda say: compute(number, say))) as items:
                async for item in items:
                    if not isinstance(item, str):
                        return item
                    heard[number] += item
            raise AssertionError

        ends = await ends_of(call, [who.leaves for who in schedule])
        for number, (who, end) in enumerate(zip(schedule, ends, strict=True)):
            assert "".join(TEXT).startswith(heard[number])
            if isinstance(end, asyncio.CancelledError):
                assert who.leaves is not None
            elif isinstance(end, BaseException):
                assert (str(end), who.fails_after is not None) == (str(number), True)
            else:
                leader, shared = end
                assert shared == (leader != number)
                assert not who.streams or not schedule[leader].streams or heard[number] == "".join(TEXT)
        assert (len(flights), active) == (0, set())

    run(scenario())


def test_a_shared_failure_is_everybody_s_as_an_error_of_its_own_each() -> None:
    async def scenario() -> None:
        flights, compute = Flights[str, str](shared=(ComputeFault,)), Computation(fault=ComputeFault("of the picture"))
        callers = start(flights, *[compute] * 3)
        await settled()
        compute.go.set()
        faults = await asyncio.gather(*callers, return_exceptions=True)
        assert [str(fault) for fault in faults] == ["of the picture"] * 3
        assert (len({id(fault) for fault in faults}), compute.begun) == (3, 1)

    run(scenario())
