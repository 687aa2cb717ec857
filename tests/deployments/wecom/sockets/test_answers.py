"""Answers over the long connection, by real WebSockets against the simulator: none lost, none twice, whatever breaks."""

import time

import pytest

from deployments.errors import Overloaded
from serve_app.wecom_sim.users import Said
from tests.deployments.wecom.sockets.line import LINE, connected, counts
from tests.deployments.wecom.town import JPEG, PNG


@pytest.mark.parametrize("modes", [{"req-ids-die"}, set()], ids=["request-ids-die", "request-ids-live"])
def test_a_reconnect_with_an_answer_under_way_answers_once(play, modes):
    async def scenario(town):
        async def dropped():
            town.model.before_answer = None
            await town.sim.sockets.close("line", 1011)
            await town.eventually(lambda: counts(town.service).get("closed") == 1)
            await connected(town)

        await connected(town)
        town.model.before_answer = dropped
        await town.users.say(LINE, Said("u1", "单号？", (JPEG,)))
        await town.eventually(lambda: "答：单号？" in town.texts())
        await town.eventually(town.all_ended)
        assert town.texts() == ["答：单号？"]
        assert [one.kind for one in town.seen()] == ["message" if modes else "stream"]

    play(scenario, modes=modes)


def test_while_the_connection_is_away_the_answer_goes_by_its_own_address(play):
    async def scenario(town):
        async def away():
            town.world.sockets.clear()  # nobody can subscribe any more
            await town.sim.sockets.close("line", 1011)
            await town.eventually(lambda: not town.service.platforms[LINE].link.connected)

        await connected(town)
        town.model.before_answer = away
        await town.users.say(LINE, Said("u1", "单号？", (JPEG,)))
        await town.eventually(lambda: town.texts() == ["答：单号？"])
        await town.eventually(town.all_ended)

    play(scenario)


def test_a_forgotten_subscription_is_made_again_and_the_answer_comes(play):
    async def scenario(town):
        async def forgotten():
            town.model.before_answer = None
            town.sim.sockets.live.clear()  # the connection stays, and nothing that it sends is taken

        await connected(town)
        town.model.before_answer = forgotten
        await town.users.say(LINE, Said("u1", "单号？", (PNG,)))
        await town.eventually(lambda: town.texts() == ["答：单号？"])
        assert counts(town.service)["unsubscribed"] == 1
        await connected(town)

    play(scenario)


def test_a_stream_that_wecom_takes_no_more_gives_over_to_a_push(play):
    async def scenario(town):
        async def expired():
            for asked in town.sim.sockets.asked.values():
                asked.stream_began = town.world.clock() - 400

        await connected(town)
        town.model.before_answer = expired
        await town.users.say(LINE, Said("u1", "单号？", (JPEG,)))
        await town.eventually(lambda: town.texts() == ["答：单号？"])
        await town.eventually(town.all_ended)
        assert [one.kind for one in town.seen()] == ["message"]

    play(scenario)


def test_a_restart_of_wecom_s_server_with_answers_under_way_loses_none_and_makes_no_storm(play):
    async def scenario(town):
        async def restarted():
            town.model.before_answer = None
            await town.restart_wecom()

        await connected(town)
        town.model.before_answer = restarted
        users = [f"u{number}" for number in range(8)]
        for user in users:
            await town.users.say(LINE, Said(user, f"{user}？", (JPEG,)))
        await town.eventually(lambda: all_stored(town))
        await town.eventually(town.all_ended)
        found = (await town.service.inbox.counts())[LINE]
        assert found.get("in_doubt", 0) + found["answered"] == len(users)
        assert len(town.texts()) == len(set(town.texts())) >= found["answered"]
        assert found.get("in_doubt", 0) <= 2  # on their way when the server went
        assert counts(town.service)["connections"] <= 5

    async def all_stored(town):
        return sum((await town.service.inbox.counts()).get(LINE, {}).values()) == 8

    play(scenario)


def test_a_long_answer_ends_its_stream_and_goes_on_as_a_push(play):
    async def scenario(town):
        town.model.says = "订单" * 8000
        await town.users.say(LINE, Said("u1", "全部？", (PNG,)))
        await town.eventually(lambda: len(town.texts()) == 3)
        assert "".join(town.texts()) == "订单" * 8000
        assert [one.kind for one in town.seen()] == ["stream", "message", "message"]

    play(scenario)


def test_a_stream_that_must_end_ends_with_text_and_the_answer_follows_as_a_push(play):
    offset = [0.0]

    async def scenario(town):
        town.model.faults += [Overloaded("full", 0.2)]
        await connected(town)

        async def later():
            if not town.model.faults:
                await town.eventually(lambda: any("正在为您查询" in one.text for one in town.seen()))
                offset[0] = 331.0
                await town.eventually(lambda: any("稍后发送给您" in text for text in town.texts()))

        town.model.before_answer = later
        await town.users.say(LINE, Said("u1", "何时？", (JPEG,)))
        await town.eventually(lambda: "答：何时？" in town.texts())
        await town.eventually(town.all_ended)
        assert [(one.kind, one.finished) for one in town.seen()] == [
            ("stream", False),
            ("stream", True),
            ("message", True),
        ]

    play(scenario, clock=lambda: time.time() + offset[0], limits={"lease_s": 600.0})


def test_an_acknowledgement_that_is_missing_is_asked_for_again_and_the_answer_comes_once(play, monkeypatch):
    monkeypatch.setattr("deployments.wecom.sockets.connection.ANSWER_S", 0.3)

    async def scenario(town):
        await connected(town)
        town.sim.sockets.acks = False
        await town.users.say(LINE, Said("u1", "几号？", (PNG,)))
        await town.eventually(lambda: town.texts() == ["答：几号？"])
        town.sim.sockets.acks = True
        await town.eventually(town.all_ended)
        assert town.texts() == ["答：几号？"]
        assert (await town.service.inbox.counts())[LINE] == {"answered": 1}

    play(scenario)


def test_an_answer_that_is_never_acknowledged_is_in_doubt_and_goes_no_other_way(play, monkeypatch):
    monkeypatch.setattr("deployments.wecom.sockets.connection.ANSWER_S", 0.2)
    monkeypatch.setattr("deployments.wecom.sockets.platform.SHUT_S", 0.05)

    async def scenario(town):
        await connected(town)
        town.sim.sockets.acks = False
        await town.users.say(LINE, Said("u1", "几号？", (PNG,)))
        await town.eventually(lambda: town.texts() == ["答：几号？"])
        await town.eventually(town.all_ended)
        assert town.texts() == ["答：几号？"]
        assert town.world.counts["frame aibot_respond_msg"] == 4
        assert (await town.service.inbox.counts())[LINE] == {"in_doubt": 1}

    play(scenario)


def test_a_push_whose_acknowledgement_is_missing_is_in_doubt_and_not_repeated(play, monkeypatch):
    monkeypatch.setattr("deployments.wecom.sockets.connection.ANSWER_S", 0.3)

    async def scenario(town):
        async def dropped():
            town.model.before_answer = None
            await town.sim.sockets.close("line", 1011)
            await town.eventually(lambda: counts(town.service).get("closed") == 1)
            await connected(town)
            town.world.response_codes.clear()
            respond = town.sim.sockets._push

            def push(*frame):
                town.sim.sockets.acks = False
                return respond(*frame)

            town.sim.sockets._push = push

        await connected(town)
        town.model.before_answer = dropped
        await town.users.say(LINE, Said("u1", "单号？", (JPEG,)))
        await town.eventually(lambda: town.texts() == ["答：单号？"])
        await town.eventually(town.all_ended)
        assert (await town.service.inbox.counts())[LINE] == {"in_doubt": 1}
        assert (await town.service.outbox.counts())["in_doubt"] == 1

    play(scenario)


def test_a_push_to_a_group_names_it_letter_by_letter(play):
    async def scenario(town):
        async def dropped():
            town.model.before_answer = None
            await town.sim.sockets.close("line", 1011)
            await town.eventually(lambda: counts(town.service).get("closed") == 1)
            await connected(town)

        await connected(town)
        town.model.before_answer = dropped
        await town.users.say(LINE, Said("u1", "单号？", (JPEG,), group="wrGroupABC"))
        await town.eventually(lambda: town.texts(chat="wrGroupABC") == ["答：单号？"])

    play(scenario)
