"""What is known of the model: one question for all who ask, its last word while it is busy, and when it counts as gone."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from deployments.contract import Answer, Level, Load, ModelInfo, Usage
from deployments.errors import Overloaded, Unavailable
from deployments.ingress import watch as watching
from deployments.ingress.watch import FRESH_S, GLANCE_S, SILENCE_S, ModelWatch

from .conftest import INFO

caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


@dataclass
class Model:
    """Says ``info``, or what ``does`` does instead; counts how often it was asked, and by whom."""

    info_: ModelInfo = INFO
    does: Callable[[], Awaitable[object]] | None = None
    asked_by: list[str] = field(default_factory=list)

    async def answers(self, replica: str) -> bool:
        return True

    async def info(self) -> ModelInfo:
        self.asked_by.append(caller.get())
        if self.does is not None:
            await self.does()
        return self.info_


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def quick(monkeypatch):
    """Waits of the same order that nobody waits for."""
    monkeypatch.setattr(watching, "BUSY_WAIT_S", 0.01)
    monkeypatch.setattr(watching, "INFO_TIMEOUT_S", 0.03)


def watched() -> tuple[ModelWatch, Model, Clock]:
    model, clock = Model(), Clock()
    return ModelWatch(model, clock), model, clock


async def never() -> None:
    await asyncio.Event().wait()


async def full() -> None:
    raise Overloaded("full")


async def gone() -> None:
    raise Unavailable("gone")


def test_a_hundred_who_ask_at_once_cost_the_model_one_question():
    async def scene() -> None:
        watch, model, clock = watched()
        go = asyncio.Event()
        model.does = go.wait
        asking = [asyncio.ensure_future(watch.info()) for _ in range(50)]
        asking += [asyncio.ensure_future(watch.recent()) for _ in range(50)]
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*asking) == [INFO] * 100
        assert len(model.asked_by) == 1
        clock.now += GLANCE_S - 0.01
        await watch.info()
        assert len(model.asked_by) == 1
        clock.now += 0.01
        await watch.info()
        assert len(model.asked_by) == 2

    asyncio.run(scene())


def test_whoever_hangs_up_takes_the_answer_from_nobody():
    async def scene() -> None:
        watch, model, _ = watched()
        go = asyncio.Event()
        model.does = go.wait
        caller.set("the first one")
        first, second = asyncio.ensure_future(watch.info()), asyncio.ensure_future(watch.info())
        await asyncio.sleep(0)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        go.set()
        assert await second == INFO
        assert model.asked_by == ["nobody"]  # Serve cancels by the request that asked

    asyncio.run(scene())


def test_a_busy_model_s_last_word_is_told_without_waiting_for_it(quick):
    async def scene() -> None:
        watch, model, clock = watched()
        await watch.info()
        for busy in (never, full):
            model.does = busy
            clock.now += 10
            async with asyncio.timeout(10):
                assert await watch.info() == INFO

    asyncio.run(scene())


def test_while_it_is_busy_each_look_up_is_still_one(quick):
    async def scene() -> None:
        watch, model, clock = watched()
        await watch.info()
        model.does = never
        clock.now += 10
        assert await asyncio.gather(*(watch.info() for _ in range(100))) == [INFO] * 100
        assert len(model.asked_by) == 2

    asyncio.run(scene())


@pytest.mark.parametrize("busy", [never, full])
def test_a_model_that_was_silent_for_too_long_counts_as_away(quick, busy):
    async def scene() -> None:
        watch, model, clock = watched()
        await watch.info()
        model.does = busy
        clock.now += SILENCE_S + 1
        with pytest.raises(Unavailable):
            await watch.info()
        watch.heard()
        clock.now += 1
        assert await watch.info() == INFO

    asyncio.run(scene())


@pytest.mark.parametrize("busy", [never, full, gone])
def test_one_that_never_said_anything_is_not_there(quick, busy):
    async def scene() -> None:
        watch, model, _ = watched()
        model.does = busy
        said = await asyncio.gather(*(watch.info() for _ in range(20)), return_exceptions=True)
        assert {type(fault) for fault in said} == {Unavailable}
        assert len(model.asked_by) == 1
        model.does = None
        assert await watch.info() == INFO

    asyncio.run(scene())


def test_one_that_is_gone_is_told_at_once_though_it_was_there():
    async def scene() -> None:
        watch, model, clock = watched()
        await watch.info()
        model.does = gone
        clock.now += GLANCE_S
        with pytest.raises(Unavailable, match="gone"):
            await watch.info()

    asyncio.run(scene())


def test_recent_asks_again_only_when_it_is_no_longer_fresh():
    async def scene() -> None:
        watch, model, clock = watched()
        await watch.recent()
        clock.now += FRESH_S - 0.1
        await watch.recent()
        assert len(model.asked_by) == 1
        clock.now += 0.1
        await watch.recent()
        assert len(model.asked_by) == 2

    asyncio.run(scene())


def answer(level: Level, serving: str) -> Answer:
    return Answer("a", level, "stop", Usage(1, 1, 1), 1.0, 1.0, 0, Load(0, 0, level), serving)


def test_an_answer_tells_the_level_and_whether_what_serves_has_changed():
    async def scene() -> None:
        watch, model, _ = watched()
        await watch.recent()
        watch.heard(answer(Level.FULL, INFO.serving))
        await watch.recent()
        assert len(model.asked_by) == 1
        model.info_ = replace(INFO, serving="another", level=Level.FAST)
        watch.heard(answer(Level.FAST, "another"))
        assert watch.level is Level.FAST
        assert (await watch.recent()).serving == "another"
        assert len(model.asked_by) == 2

    asyncio.run(scene())


def test_a_level_told_by_the_model_itself_counts():
    async def scene() -> None:
        watch, model, _ = watched()
        model.info_ = replace(INFO, level=Level.FAST)
        await watch.info()
        assert watch.level is Level.FAST

    asyncio.run(scene())
