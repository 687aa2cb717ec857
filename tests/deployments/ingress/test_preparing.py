"""Identical pictures at the same time are prepared once, and each of their callers is served as if alone."""

import asyncio
import time
from dataclasses import replace

import pytest

from deployments.errors import DeadlineExceeded, ImageTruncated, Overloaded, Unavailable
from deployments.ingress.asking import Ask
from deployments.ingress.uploads import SPOOL_BYTES, Upload

ASK = Ask("r", 0.0, b"picture", "订单号？", on_overload="error")


def arriving(ask):
    return replace(ask, image=Upload.of(ask.image), arrived=time.time())


async def settled():
    for _ in range(500):
        await asyncio.sleep(0)


def crowd(service, *asks, meanwhile=lambda callers: None):
    """All at once; the preprocessor goes on when they have come as far as they can, and ``meanwhile`` has happened."""

    async def scenario():
        gate = asyncio.Event()
        service.preprocessor.before = gate.wait
        callers = [asyncio.create_task(service.pipeline.ask(arriving(ask))) for ask in asks]
        await settled()
        meanwhile(callers)
        await settled()
        gate.set()
        return await asyncio.gather(*callers, return_exceptions=True)

    return asyncio.run(scenario())


def test_ten_at_once_are_prepared_once_whatever_they_ask(service):
    asks = [replace(ASK, request_id=str(n), text="？" * (1 + n % 2)) for n in range(10)]
    replies = crowd(service, *asks)
    assert {reply.answer for reply in replies} == {"echo ？", "echo ？？"}
    assert service.preprocessor.calls == 2  # by what room the words leave for the picture


@pytest.mark.parametrize("other", [{"image": b"another"}, {"tenant": "another"}], ids=["picture", "tenant"])
def test_others_are_prepared_for_themselves(service, other):
    crowd(service, ASK, replace(ASK, **other))
    assert service.preprocessor.calls == 2


def test_who_asks_later_is_prepared_for_anew(service):
    crowd(service, ASK)
    crowd(service, ASK)
    assert service.preprocessor.calls == 2


def test_the_first_one_hanging_up_fails_none_of_the_others(service):
    first, *others = crowd(service, *[ASK] * 4, meanwhile=lambda callers: callers[0].cancel())
    assert isinstance(first, asyncio.CancelledError)
    assert {reply.answer for reply in others} == {"echo 订单号？"}
    assert service.preprocessor.calls == 1


def test_when_all_hang_up_the_work_ends(service):
    ends = crowd(service, *[ASK] * 3, meanwhile=lambda callers: [caller.cancel() for caller in callers])
    assert {type(end) for end in ends} == {asyncio.CancelledError}
    assert len(service.pipeline._preparing) == 0
    assert service.pipeline._memory.held == 0
    assert service.model.questions == []


@pytest.mark.parametrize("fault", [ImageTruncated("half of it is missing"), Overloaded("full", 3.0)])
def test_what_is_wrong_with_the_picture_or_full_is_found_once_and_told_to_all(service, fault):
    service.preprocessor.faults = [fault]
    told = crowd(service, *[ASK] * 5)
    assert {(type(one), one.retry_after_s) for one in told} == {(type(fault), fault.retry_after_s)}
    assert len({id(one) for one in told}) == 5
    assert service.preprocessor.calls == 1


def test_a_deadline_is_its_request_s_own(service):
    """The first one's was nearer: the others prepare the picture once more."""
    service.preprocessor.faults = [DeadlineExceeded("the first one's")]
    first, *others = crowd(service, *[ASK] * 3)
    assert isinstance(first, DeadlineExceeded)
    assert {reply.answer for reply in others} == {"echo 订单号？"}
    assert service.preprocessor.calls == 2


def test_a_preprocessor_that_dies_is_asked_once_more_by_all_together(service):
    service.preprocessor.faults = [Unavailable("gone")]
    replies = crowd(service, *[ASK] * 5)
    assert {reply.answer for reply in replies} == {"echo 订单号？"}
    assert service.preprocessor.calls == 2


def test_a_large_picture_is_in_memory_once_however_many_send_it(service):
    held = []
    image = b"x" * (2 * SPOOL_BYTES)

    async def looking():
        held.append(service.pipeline._memory.held)

    async def scenario():
        service.preprocessor.before = looking
        return await asyncio.gather(*(service.pipeline.ask(arriving(replace(ASK, image=image))) for _ in range(10)))

    asyncio.run(scenario())
    assert max(held) == len(image)


@pytest.mark.parametrize("size", [10, SPOOL_BYTES + 10])
def test_a_digest_is_that_of_the_bytes_and_leaves_them_readable(size):
    async def scenario():
        one, other = Upload.of(b"x" * size), Upload.of(b"x" * (size - 1) + b"y")
        assert await one.digest() == await one.digest() == await Upload.of(b"x" * size).digest()
        assert await one.digest() != await other.digest()
        assert await one.read() == b"x" * size

    asyncio.run(scenario())
