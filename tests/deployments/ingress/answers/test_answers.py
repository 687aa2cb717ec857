"""The answer cache and single flight as a caller sees them: what is given again, to whom, and when not."""

import asyncio
from dataclasses import replace

import pytest

from deployments.contract import PUBLIC, Level
from deployments.errors import Overloaded
from deployments.ingress.answers.cache import MemoryCache
from deployments.ingress.asking import Ask
from deployments.ingress.pipeline import Pipeline
from deployments.ingress.records import MemoryRecords
from deployments.ingress.uploads import Upload

ASK = Ask("r", 1000.0, b"picture", "订单号？")
"""A template: ``arriving`` makes its picture one that has arrived."""


def arriving(pipeline, ask):
    """The request as if it had just come in."""
    return replace(ask, image=Upload.of(ask.image), arrived=pipeline._clock())


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def pipeline(service, clock):
    """The fixture's parts behind an answer cache, on a clock that only the test moves."""
    return Pipeline(
        service.preprocessor,
        service.model,
        service.downloader,
        MemoryRecords(100),
        "tuwen-test",
        MemoryCache(100, 3600.0, lambda: clock[0]),
        clock=lambda: clock[0],
    )


async def settled():
    """All callers have come as far as they can."""
    for _ in range(500):
        await asyncio.sleep(0)


def asked(pipeline, *asks):
    async def all_at_once():
        return await asyncio.gather(*(pipeline.ask(arriving(pipeline, ask)) for ask in asks), return_exceptions=True)

    return asyncio.run(all_at_once())


def streamed(pipeline, ask):
    async def listen():
        return [item async for item in pipeline.stream(arriving(pipeline, ask))]

    return asyncio.run(listen())


def test_the_same_question_about_the_same_picture_is_computed_once(service, pipeline):
    (first,), (second,) = asked(pipeline, ASK), asked(pipeline, replace(ASK, request_id="s"))
    assert (first.cached, second.cached) == (False, True)
    assert second.answer == first.answer == "echo 订单号？"
    assert (second.usage, second.finish_reason, second.level) == (first.usage, first.finish_reason, first.level)
    assert second.timing_ms.generate == 0
    assert len(service.model.questions) == 1
    assert asyncio.run(pipeline.records.get(PUBLIC, "s")).cached


@pytest.mark.parametrize(
    "other",
    [
        {"text": "收件人？"},
        {"image": b"another picture"},
        {"max_new_tokens": 5},
        {"tenant": "another"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_an_answer_hangs_on_is_told_apart(service, pipeline, other):
    asked(pipeline, ASK)
    assert not asked(pipeline, replace(ASK, **other))[0].cached
    assert len(service.model.questions) == 2


def test_another_way_of_serving_is_noticed_within_seconds(service, pipeline, clock):
    asked(pipeline, ASK)
    service.model.serving = "retrained"
    clock[0] += 6
    assert not asked(pipeline, ASK)[0].cached
    assert asked(pipeline, ASK)[0].cached


def test_an_answer_that_was_computed_another_way_is_kept_as_such(service, pipeline):
    """Between the ingress's last look and the answer the knobs changed: the answer says what it came of."""
    asked(pipeline, ASK)
    service.model.serving = "changed"
    asked(pipeline, replace(ASK, text="another"))  # heard of by its answer
    assert not asked(pipeline, ASK)[0].cached
    service.model.serving = "serving"
    asked(pipeline, replace(ASK, text="a third"))
    assert asked(pipeline, ASK)[0].cached


def test_full_answers_serve_any_level_and_fast_ones_only_below_full(service, pipeline, clock):
    service.model.level = Level.FAST
    assert not asked(pipeline, ASK)[0].cached
    assert asked(pipeline, ASK)[0].cached
    service.model.level = Level.FULL
    clock[0] += 6
    again = asked(pipeline, ASK)[0]
    assert (again.cached, again.level) == (False, Level.FULL)
    service.model.level = Level.FAST
    clock[0] += 6
    again = asked(pipeline, ASK)[0]
    assert (again.cached, again.level) == (True, Level.FULL)


def test_below_full_the_preprocessor_is_asked_for_less(service, pipeline, clock):
    service.model.level = Level.FAST
    asked(pipeline, ASK)
    assert service.preprocessor.levels == [Level.FAST]


def test_fifty_at_once_are_one_computation(service, pipeline):
    gate = asyncio.Event()
    service.model.before_answer = gate.wait

    async def crowd():
        callers = [
            asyncio.create_task(pipeline.ask(arriving(pipeline, replace(ASK, request_id=str(n))))) for n in range(50)
        ]
        await settled()
        gate.set()
        return await asyncio.gather(*callers)

    replies = asyncio.run(crowd())
    assert {reply.answer for reply in replies} == {"echo 订单号？"}
    assert len(service.model.questions) == 1
    assert sum(not reply.cached for reply in replies) == 1


def test_a_leader_that_hangs_up_does_not_harm_its_followers(service, pipeline):
    gate = asyncio.Event()
    service.model.before_answer = gate.wait

    async def crowd():
        callers = [asyncio.create_task(pipeline.ask(arriving(pipeline, ASK))) for _ in range(3)]
        await settled()
        callers[0].cancel()
        gate.set()
        return await asyncio.gather(*callers, return_exceptions=True)

    first, *others = asyncio.run(crowd())
    assert isinstance(first, asyncio.CancelledError)
    assert [reply.answer for reply in others] == ["echo 订单号？"] * 2
    assert len(service.model.questions) == 1


def test_overload_and_holding_replies_are_not_kept(service, pipeline):
    asked(pipeline, replace(ASK, text="what the ingress learns the level by"))
    service.model.faults = [Overloaded("full")]
    held = asked(pipeline, ASK)[0]
    assert (held.level, held.cached) == (Level.HOLDING, False)
    assert asked(pipeline, ASK)[0].level is Level.FULL


def test_an_answer_kept_is_given_while_the_model_has_no_room(service, pipeline, clock):
    asked(pipeline, ASK)
    clock[0] += 6
    service.model.faults = [Overloaded("full")]  # also when asked what it serves with
    assert asked(pipeline, ASK)[0].cached


def test_a_stream_is_kept_and_one_that_was_kept_is_streamed(service, pipeline):
    *pieces, reply = streamed(pipeline, ASK)
    assert (len(pieces) > 1, "".join(pieces), reply.cached) == (True, reply.answer, False)
    text, again = streamed(pipeline, ASK)
    assert (text, again.answer, again.cached) == (reply.answer, reply.answer, True)
    assert asked(pipeline, ASK)[0].cached
    assert len(service.model.questions) == 1


CARD = "卡号 6222021234567890128，谢谢"  # passes Luhn's check; made up


def test_personal_numbers_are_masked_when_the_setting_says_so_streamed_or_not(service, pipeline):
    service.model.says = CARD
    assert asked(pipeline, ASK)[0].answer == CARD
    pipeline.knobs = pipeline.knobs.model_copy(update={"mask_personal_numbers": True})
    masked = "卡号 ***************0128，谢谢"
    *pieces, reply = streamed(pipeline, ASK)
    assert "".join(pieces) == masked
    assert (reply.answer, reply.cached) == (masked, False)
    again = asked(pipeline, ASK)[0]
    assert (again.answer, again.cached) == (masked, True)
