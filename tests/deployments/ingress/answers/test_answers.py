"""The answer cache and single flight as a caller sees them: what is given again, to whom, and when not."""

import asyncio
from dataclasses import replace

import pytest

from deployments.contract import OVERVIEW, PUBLIC, Level
from deployments.errors import DeadlineExceeded, EmptyAnswer, Overloaded, Unavailable
from deployments.ingress.answers.cache import MemoryCache
from deployments.ingress.asking import Ask
from deployments.ingress.pipeline import Pipeline
from deployments.ingress.records import MemoryRecords
from deployments.ingress.uploads import Upload

from ..conftest import PREPARED

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


TILES = ((0, 0, 50, 100), (50, 0, 100, 100))
WHOLE = replace(PREPARED, sizes=((112, 112),) * 3, places=(OVERVIEW, (1, 1), (1, 2)), boxes=(*PREPARED.boxes, *TILES))
HALF = replace(PREPARED, full_boxes=WHOLE.boxes)


@pytest.fixture
def large(service):
    """A picture of which level ``full`` shows three parts, and the levels below one."""
    service.preprocessor.prepared, service.preprocessor.below = WHOLE, HALF


def at(service, pipeline, clock, level):
    """The service is at this level, and the ingress has heard of it."""
    service.model.level = level
    clock[0] += 6
    asyncio.run(pipeline.watch.recent())


@pytest.mark.parametrize("ask", [asked, lambda pipeline, ask: streamed(pipeline, ask)[-1:]], ids=["whole", "streamed"])
@pytest.mark.usefixtures("large")
def test_a_picture_prepared_with_half_its_tiles_is_no_full_answer(service, pipeline, clock, ask):
    """Just after ``fast`` has become ``full``: the ingress still asks for less, the model searches with beams."""
    at(service, pipeline, clock, Level.FAST)
    service.model.level = Level.FULL
    (reply,) = ask(pipeline, ASK)
    assert (reply.level, reply.tiles, reply.tile_boxes) == (Level.FAST, 1, ())
    (again,) = ask(pipeline, ASK)  # the ingress has heard by now
    assert (again.level, again.cached, again.tiles, again.tile_boxes) == (Level.FULL, False, 3, TILES)
    (kept,) = ask(pipeline, ASK)
    assert (kept.level, kept.cached, kept.tiles) == (Level.FULL, True, 3)


@pytest.mark.usefixtures("large")
def test_below_full_the_whole_picture_s_answer_is_given_and_says_which_parts_it_was_made_from(service, pipeline, clock):
    asked(pipeline, ASK)
    at(service, pipeline, clock, Level.FAST)
    (kept,) = asked(pipeline, ASK)
    assert service.preprocessor.levels == [Level.FULL, Level.FAST]
    assert (kept.level, kept.cached, kept.tiles, kept.tile_boxes) == (Level.FULL, True, 3, TILES)


@pytest.mark.usefixtures("large")
def test_half_a_picture_s_answer_is_given_again_below_full_and_never_at_it(service, pipeline, clock):
    at(service, pipeline, clock, Level.FAST)
    assert [asked(pipeline, ASK)[0].cached for _ in range(2)] == [False, True]
    at(service, pipeline, clock, Level.FULL)
    (whole,) = asked(pipeline, ASK)
    assert (whole.cached, whole.level, whole.tiles) == (False, Level.FULL, 3)
    assert len(service.model.questions) == 2


@pytest.mark.usefixtures("large")
def test_a_greedy_answer_about_the_whole_picture_stays_a_fast_one(service, pipeline, clock):
    """Prepared at ``full``, answered below it: the beams collapsed, or the level fell in between."""
    service.model.says_level = Level.FAST
    assert asked(pipeline, ASK)[0].level is Level.FAST
    service.model.says_level = None
    assert not asked(pipeline, ASK)[0].cached


def test_fewer_tiles_for_a_long_question_are_a_picture_of_their_own(service, pipeline):
    """Level ``full`` shows no more beside these words: it is a full answer, and kept apart from the other one."""
    service.preprocessor.prepared = WHOLE
    asked(pipeline, ASK)
    service.preprocessor.prepared = PREPARED
    (reply,) = asked(pipeline, ASK)
    assert (reply.cached, reply.level, reply.tiles) == (False, Level.FULL, 1)
    assert asked(pipeline, ASK)[0].cached


def crowd(pipeline, gate, *streams):
    """Ten identical requests at once, some of them streamed; the gate opens when they have come as far as they can."""

    async def one(number, stream):
        ask = arriving(pipeline, replace(ASK, request_id=str(number)))
        return [item async for item in pipeline.stream(ask)] if stream else [await pipeline.ask(ask)]

    async def all_at_once():
        callers = [asyncio.create_task(one(*which)) for which in enumerate(streams)]
        await settled()
        gate.set()
        return await asyncio.gather(*callers)

    return asyncio.run(all_at_once())


@pytest.mark.parametrize("streams", [(True,) * 10, (False, True) * 5, (True, False) * 5])
def test_ten_at_once_streamed_or_not_are_prepared_and_computed_once(service, pipeline, streams):
    gate = asyncio.Event()
    service.model.before_answer = gate.wait
    told = crowd(pipeline, gate, *streams)
    for pieces, stream in zip(told, streams, strict=True):
        assert "".join(pieces[:-1]) == (pieces[-1].answer if stream else "")
        assert pieces[-1].answer == "echo 订单号？"
    assert sum(not pieces[-1].cached for pieces in told) == 1
    assert (service.preprocessor.calls, len(service.model.questions)) == (1, 1)


def test_who_joins_a_stream_is_told_the_text_so_far_and_what_comes(service, pipeline):
    async def scenario():
        first = pipeline.stream(arriving(pipeline, ASK))
        begun = [await anext(first) for _ in range(4)]
        await settled()
        second = [item async for item in pipeline.stream(arriving(pipeline, replace(ASK, request_id="s")))]
        return [*begun, *[item async for item in first]], second

    service.model.between_pieces = settled
    first, second = asyncio.run(scenario())
    for *pieces, reply in (first, second):
        assert "".join(pieces) == reply.answer == "echo 订单号？"
    assert len(second) > 4
    assert (first[-1].cached, second[-1].cached, len(service.model.questions)) == (False, True, 1)


def test_a_stream_s_first_listener_that_hangs_up_does_not_harm_the_others(service, pipeline):
    async def scenario():
        first = pipeline.stream(arriving(pipeline, ASK))
        assert await anext(first) == "e"
        others = [asyncio.create_task(heard(pipeline.stream(arriving(pipeline, ASK)))) for _ in range(2)]
        others.append(asyncio.create_task(heard_whole(pipeline, arriving(pipeline, ASK))))
        await settled()
        await first.aclose()
        gate.set()
        return await asyncio.gather(*others)

    async def heard(items):
        return [item async for item in items]

    async def heard_whole(pipeline, ask):
        return [await pipeline.ask(ask)]

    gate = asyncio.Event()
    service.model.between_pieces = gate.wait
    assert {told[-1].answer for told in asyncio.run(scenario())} == {"echo 订单号？"}
    assert (len(service.model.questions), service.model.streams_closed) == (1, 1)


@pytest.mark.parametrize(("says", "ends"), [("echo {}", "answered"), ("another {}", "broken off")])
def test_a_listener_goes_on_with_its_own_computation_where_the_first_one_s_failed(service, pipeline, says, ends):
    """What it heard is not said again; where the new text is another one, it has broken off."""
    service.model.faults, service.model.breaks_after = [DeadlineExceeded("the first one's own")], 3

    async def scenario():
        streams = [pipeline.stream(arriving(pipeline, replace(ASK, request_id=name))) for name in "ab"]
        told = [[await anext(stream)] for stream in streams]
        service.model.says, service.model.between_pieces = says, None
        gate.set()
        return told, await asyncio.gather(*map(rest, streams, told), return_exceptions=True)

    async def rest(stream, told):
        async for item in stream:
            told.append(item)

    gate = asyncio.Event()
    service.model.between_pieces = gate.wait
    told, faults = asyncio.run(scenario())
    assert isinstance(faults[0], DeadlineExceeded)
    if ends == "answered":
        assert faults[1] is None
        assert "".join(told[1][:-1]) == told[1][-1].answer == "echo 订单号？"
    else:
        assert isinstance(faults[1], Unavailable)
        assert "echo".startswith("".join(told[1]))


def test_an_empty_answer_is_everybody_s_and_computed_once(service, pipeline):
    gate = asyncio.Event()
    service.model.before_answer, service.model.faults = gate.wait, [EmptyAnswer("nothing")]

    async def scenario():
        callers = [asyncio.create_task(pipeline.ask(arriving(pipeline, ASK))) for _ in range(10)]
        await settled()
        gate.set()
        return await asyncio.gather(*callers, return_exceptions=True)

    assert [type(fault) for fault in asyncio.run(scenario())] == [EmptyAnswer] * 10
    assert len(service.model.questions) == 1
