"""Ways that are gone, late, limited or refused: the answer comes by the next one, once, or its end has a reason."""

import asyncio
import time

import pytest
from sqlalchemy import select

from deployments.errors import Unavailable
from deployments.store.tables import messages
from serve_app.wecom_sim.users import Said
from tests.deployments.wecom.town import JPEG, PNG


class Clock:
    """The machine's, and what a test adds to it."""

    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return time.time() + self.ahead_s


@pytest.fixture
def clock():
    return Clock()


async def reasons(town):
    """State and reason of each stored message."""
    wanted = select(messages.c.state, messages.c.reason).order_by(messages.c.id)
    return [tuple(row) for row in await town.service.database.run(lambda c: c.execute(wanted).all())]


def test_replicas_share_one_token_and_fetch_it_once(play):
    async def scenario(town):
        async with town.replica() as second:
            apps = [service.platforms["app/desk"] for service in (town.service, second)]
            tokens = await asyncio.gather(*(app._token(None) for app in apps for _ in range(10)))
            assert len(set(tokens)) == 1
            assert town.world.counts["gettoken"] == 1
            newer = await asyncio.gather(*(app._token(tokens[0]) for app in apps for _ in range(10)))
            assert len(set(newer)) == 1
            assert newer[0] != tokens[0]
            assert town.world.counts["gettoken"] == 2

    play(scenario)


def test_a_token_that_another_program_has_killed_is_replaced_once(play):
    async def scenario(town):
        await town.users.say("app/desk", Said("u1", "一？", (PNG,)))
        await town.eventually(lambda: "答：一？" in town.texts())
        town.world.new_token("desk")  # somebody else's call of gettoken
        await town.users.say("app/desk", Said("u1", "二？"))
        await town.eventually(lambda: "答：二？" in town.texts())
        assert town.world.counts["gettoken"] == 2

    play(scenario, modes={"token-kills-old"})


def test_a_wrong_secret_is_asked_about_once_a_minute_and_the_message_is_given_up_with_the_reason(play, caplog):
    async def scenario(town):
        for user in ("u1", "u2", "u3"):
            await town.users.say("app/desk", Said(user, "帮助"))
        await town.eventually(town.all_ended)
        assert town.world.counts["gettoken"] == 1
        assert all(found == ("given_up", "message_send: 40001") for found in await reasons(town))
        assert not (await town.service.status())["surfaces"]["app/desk"]["ok"]
        assert "errcode 40001: the secret is not this app's" in caplog.text
        assert "x" * 43 not in caplog.text

    async def with_another_secret(town):
        app = town.world.apps["desk"]
        object.__setattr__(app, "secret", "x" * 43)
        await scenario(town)

    play(with_another_secret)


@pytest.mark.parametrize("robot", [None, "ops"])
def test_what_wecom_takes_for_a_user_without_licence_is_undelivered(play, robot):
    async def scenario(town):
        town.world.unlicensed.add("u1")
        await town.users.say("app/desk", Said("u1", "单号？", (PNG,)))
        await town.eventually(lambda: town.service.inbox.counts())
        await town.eventually(town.all_ended)
        if robot:
            assert town.texts(surface="robot/ops") == ["答：单号？"]
        else:
            assert (await reasons(town))[-1] == ("given_up", "message_send: undelivered: unlicenseduser")
        assert (await town.service.outbox.counts())["failed"] == 1
        assert town.texts(surface="app/desk") == []

    play(scenario, modes={"unlicensed-user"}, apps={"desk": {"fallback_robot": robot}})


def test_an_address_that_is_not_trusted_is_told_to_the_operator(play, caplog):
    async def scenario(town):
        await town.users.say("app/desk", Said("u1", "帮助"))
        await town.eventually(lambda: town.service.inbox.counts())
        await town.eventually(town.all_ended)
        assert await reasons(town) == [("given_up", "message_send: 60020")]
        status = (await town.service.status())["surfaces"]["app/desk"]
        assert not status["ok"]
        assert "203.0.113.7" in status["detail"]
        assert "needs its operator" in caplog.text

    play(scenario, modes={"untrusted-address"})


def test_beyond_wecom_s_frequency_the_answer_waits_and_comes(play, clock):
    async def scenario(town):
        await town.users.say("app/desk", Said("u1", "帮助"))
        await town.eventually(lambda: town.world.counts["message/send"] == 1)
        await town.eventually(lambda: pending(town))
        assert town.texts() == []
        town.world.modes.clear()
        clock.ahead_s = 61
        await town.eventually(lambda: len(town.texts()) == 1)
        assert town.world.counts["message/send"] == 2

    async def pending(town):
        return (await town.service.outbox.counts()).get("pending")

    play(scenario, modes={"over-frequency"}, clock=clock, limits={"lease_s": 600.0})


def test_while_wecom_is_busy_for_minutes_the_answer_waits_and_comes(play, clock):
    async def scenario(town):
        await town.users.say("app/desk", Said("u1", "帮助"))
        await town.eventually(lambda: passing(5.0) and town.world.counts["message/send"] >= 8)
        assert clock.ahead_s > 120
        town.world.modes.clear()
        await town.eventually(lambda: passing(5.0) and len(town.texts()) == 1)

    def passing(seconds):
        clock.ahead_s += seconds
        return True

    play(scenario, modes={"busy"}, clock=clock, limits={"lease_s": 600.0})


def test_what_a_member_may_get_in_a_minute_is_not_exceeded(play, clock):
    async def scenario(town):
        for _ in range(33):
            await town.users.say("app/desk", Said("u1", "帮助"))
        await town.eventually(lambda: len(town.texts()) == 30)
        clock.ahead_s = 61
        await town.eventually(lambda: len(town.texts()) == 33)
        assert town.world.counts["over quota"] == 0

    play(scenario, clock=clock, limits={"lease_s": 600.0})


def test_a_stream_ends_before_wecom_stops_asking_and_the_answer_follows_by_its_address(play, clock):
    async def scenario(town):
        async def slow():
            clock.ahead_s = 331
            await town.eventually(lambda: any("稍后发送给您" in text for text in town.texts()))

        town.model.before_answer = slow
        await town.users.say("bot/shop", Said("u1", "单号？", (JPEG,)))
        await town.eventually(lambda: "答：单号？" in town.texts())
        await town.eventually(town.all_ended)
        assert [one.kind for one in town.seen(finished=True)] == ["stream", "message"]
        assert town.world.counts["streams never finished"] == 0

    play(scenario, clock=clock, limits={"lease_s": 600.0})


def test_an_answer_that_nobody_fetches_from_its_stream_goes_another_way_once(play):
    async def scenario(town):
        town.world.poll_s = 3600.0
        await town.users.say("bot/shop", Said("u1", "单号？", (JPEG,)))
        await town.eventually(lambda: town.texts() == ["答：单号？"])
        await town.eventually(town.all_ended)
        (stream_id,) = await town.service.database.run(
            lambda c: c.execute(select(messages.c.stream_id)).scalars().all()
        )
        late = await town.service.streams.polled(town.service.platforms["bot/shop"], stream_id)
        assert late.finished
        assert "答" not in late.text
        assert [one.kind for one in town.seen()] == ["message"]

    async def wrapped(town):
        try:
            await scenario(town)
        finally:
            for task in town.users._following:
                task.cancel()

    play(wrapped)


def test_streams_are_answered_by_any_replica(play):
    async def scenario(town):
        async with town.replica() as second:
            town.model.faults.clear()
            town.world.poll_s = 3600.0
            await town.users.say("bot/shop", Said("u1", "单号？", (JPEG,)))
            platform = second.platforms["bot/shop"]
            (stream_id,) = await second.database.run(lambda c: c.execute(select(messages.c.stream_id)).scalars().all())

            async def shown():
                found = await second.streams.polled(platform, stream_id)
                return found if found.finished else None

            assert (await town.eventually(shown)).text == "答：单号？"
            await town.eventually(town.all_ended)
            assert await second.outbox.counts() == {"sent": 1}
            for task in town.users._following:
                task.cancel()

    play(scenario, limits={"stream_patience_s": 30.0})


def test_an_address_for_one_answer_is_used_once_even_when_it_fails(play, monkeypatch):
    async def scenario(town):
        town.world.poll_s = 3600.0
        town.world.response_codes.clear()
        await town.users.say("bot/shop", Said("u1", "单号？", (JPEG,)))
        town.world.response_codes.clear()
        await town.eventually(lambda: town.texts(surface="robot/ops") == ["答：单号？"])
        await town.eventually(town.all_ended)
        assert len(town.texts()) == 1
        for task in town.users._following:
            task.cancel()

    play(scenario, bots={"shop": {"fallback_robot": "ops"}})


def test_a_message_that_nobody_can_answer_any_more_is_told_and_given_up(play, clock):
    async def scenario(town):
        async def late():
            clock.ahead_s = 1900

        town.preprocessor.before = late
        town.model.faults += [Unavailable("away")] * 2
        await town.users.say("app/desk", Said("u1", "单号？", (PNG,)))
        await town.eventually(lambda: any("咨询人数较多" in text for text in town.texts()))
        await town.eventually(town.all_ended)
        assert (await reasons(town))[-1] == ("given_up", "not answered in time; the customer was told")

    play(scenario, clock=clock, limits={"lease_s": 600.0})


MOMENTS = ["before it was sent", "after it was sent", "after that was written down"]


@pytest.mark.parametrize(
    ("surface", "moment"),
    [("app/desk", MOMENTS[1]), ("bot/shop", MOMENTS[2]), *(("socket/line", moment) for moment in MOMENTS)],
)
def test_a_crash_at_any_moment_of_a_send_shows_the_answer_at_most_once(play, monkeypatch, surface, moment):
    async def scenario(town):
        crashed = crash(town, monkeypatch, moment)
        if surface == "bot/shop":
            town.world.poll_s = 3600.0  # nobody fetches the stream: its address for one answer is the way
        await town.users.say(surface, Said("u1", "单号？", (JPEG,)))
        await asyncio.wait_for(crashed.wait(), 20)
        async with town.replica() as second:
            await town.eventually(lambda: ended(second))
            assert town.texts().count("答：单号？") <= 1
            in_doubt = sum(states.get("in_doubt", 0) for states in (await second.inbox.counts()).values())
            assert town.texts().count("答：单号？") == 1 or in_doubt == 1
        for task in town.users._following:
            task.cancel()

    async def ended(service):
        counts = await service.inbox.counts()
        return counts and all(set(states) <= {"answered", "in_doubt", "given_up"} for states in counts.values())

    play(scenario, limits={"lease_s": 1.0})


def crash(town, monkeypatch, moment):
    """The first service stops for good at that moment of its first send; the event is set then."""
    crashed, service = asyncio.Event(), town.service

    async def dies(*args, **options):
        crashed.set()
        await asyncio.Event().wait()

    def die():
        crashed.set()
        for name in ("renew", "claim", "put_back", "change", "end"):
            monkeypatch.setattr(service.inbox, name, dies)
        monkeypatch.setattr(service.leases, "take", dies)

    for platform in service.platforms.values():
        send = platform.send

        async def sends(way, inbound, part, send=send):
            if moment == "before it was sent":
                die()
                await dies()
            outcome = await send(way, inbound, part)
            if moment == "after it was sent":
                die()
                await dies()
            return outcome

        monkeypatch.setattr(platform, "send", sends)
    if moment == "after that was written down":
        finish = service.outbox.finish

        async def finishes(id, state, *more):
            await finish(id, state, *more)
            if state == "sent":
                die()
                await dies()

        monkeypatch.setattr(service.outbox, "finish", finishes)
    return crashed
