"""The long connection itself, by real WebSockets against the simulator: what breaks recovers, or says what is wrong."""

import json
import time

from serve_app.wecom_sim.users import Said
from tests.deployments.wecom.sockets.line import LINE, QUICK, connected, counts, foreign, kill
from tests.deployments.wecom.town import JPEG, PNG


def test_an_eviction_is_alarmed_and_taken_back_a_few_times_an_hour(play, caplog):
    async def scenario(town):
        await connected(town)
        for number in (1, 2):
            socket = await foreign(town)
            await town.eventually(lambda n=number: counts(town.service).get("evicted") == n)
            await connected(town)
            await socket.close()
        assert "another client has taken the bot" in caplog.text
        third = await foreign(town)
        await town.eventually(lambda: counts(town.service)["evicted"] == 3)
        status = (await town.service.status())["surfaces"][LINE]
        assert not status["ok"]
        assert "used elsewhere" in status["detail"]
        assert counts(town.service)["connections"] == 3
        noted = json.loads(await town.service.leases.note(f"socket/{town.settings.sockets['line'].bot_id}"))
        assert noted["until"] > time.time() + 3500
        await third.close()

    play(scenario, sockets={"line": {"retakes_per_hour": 2, "retake_pause_s": 0.1}})


def test_a_bot_that_may_not_be_taken_back_stays_down(play):
    async def scenario(town):
        await connected(town)
        socket = await foreign(town)
        await town.eventually(lambda: counts(town.service).get("evicted") == 1)
        assert await town.service.platforms[LINE]._keeper.renewed()
        assert counts(town.service)["connections"] == 1
        assert not town.service.platforms[LINE].health().ok
        await socket.close()

    play(scenario, sockets={"line": {"retakes_per_hour": 0}})


def test_missed_heartbeats_end_a_connection_and_another_is_made(play):
    async def scenario(town):
        await connected(town)
        town.sim.sockets.pongs = False
        await town.eventually(lambda: counts(town.service).get("dead", 0) >= 1)
        town.sim.sockets.pongs = True
        await connected(town)
        assert counts(town.service)["connections"] <= 3
        await town.users.say(LINE, Said("u1", "还在吗？", (PNG,)))
        await town.eventually(lambda: "答：还在吗？" in town.texts())

    play(scenario, sockets=QUICK)


def test_a_clean_close_counts_as_a_close(play):
    async def scenario(town):
        await connected(town)
        await town.sim.sockets.close("line", 1000)
        await town.eventually(lambda: counts(town.service).get("closed") == 1)
        await connected(town)
        assert counts(town.service)["connections"] == 2
        await town.users.say(LINE, Said("u1", "几件？", (PNG,)))
        await town.eventually(lambda: "答：几件？" in town.texts())

    play(scenario)


def test_a_refused_secret_is_told_and_asked_about_ever_more_seldom(play, caplog):
    async def scenario(town):
        refused = town.sim.world.counts
        await town.eventually(lambda: refused["authentication failures"] >= 1)
        began = time.monotonic()
        await town.eventually(lambda: refused["authentication failures"] >= 2)
        assert time.monotonic() - began > 0.7
        health = town.service.platforms[LINE].health()
        assert (health.ok, health.detail) == (False, "errcode 853000: bot id or secret is wrong")
        assert health.counts["connections"] == refused["socket connections"] <= 4
        assert "l" * 43 not in caplog.text
        assert "wrong" * 8 not in caplog.text
        true = town.world.sockets["line"]
        object.__setattr__(true, "secret", "wrong" * 8)
        await connected(town)

    play(scenario, sockets={"line": {"secret": "wrong" * 8}}, sim_secret="l" * 43)


def test_events_before_the_acknowledgement_and_raw_newlines_disturb_nothing(play):
    async def scenario(town):
        await town.users.say(LINE, Said("u1", "第一行\n第二行？", (PNG,)))
        await town.eventually(lambda: "答：第一行\n第二行？" in town.texts())
        assert counts(town.service)["connections"] == 1

    play(scenario, modes={"early-event", "raw-newlines"})


def test_a_greeting_and_unknown_events(play):
    async def scenario(town):
        await connected(town)
        await town.users.event(LINE, "u1", "enter_chat")
        await town.eventually(lambda: any(text.startswith("您好") for text in town.texts()))
        await town.users.event(LINE, "u1", "feedback_event")
        await town.users.event(LINE, "u1", "event_of_next_year")
        await town.users.say(LINE, Said("u1", "帮助"))
        await town.eventually(lambda: any("用一句话提问" in text for text in town.texts()))

    play(scenario)


def test_heartbeats_find_a_forgotten_subscription(play):
    async def scenario(town):
        await connected(town)
        acknowledged = town.sim.sockets._ack

        async def forgotten(socket, req_id, code, errmsg=""):
            town.sim.sockets._ack = acknowledged
            await acknowledged(socket, req_id, 846609)

        town.sim.sockets._ack = forgotten
        await town.eventually(lambda: counts(town.service).get("unsubscribed") == 1)
        await connected(town)
        assert counts(town.service)["connections"] == 2

    play(scenario, sockets=QUICK)


def test_of_two_replicas_one_holds_the_connection_and_the_other_takes_over(play):
    async def scenario(town):
        await connected(town)
        async with town.replica() as second:
            await town.users.say(LINE, Said("u1", "一？", (PNG,)))
            await town.eventually(lambda: "答：一？" in town.texts())
            assert not second.platforms[LINE].is_here()
            assert second.platforms[LINE].health().ok
            kill(town.service)
            await connected(town, second)
            await town.users.say(LINE, Said("u1", "二？", (PNG,)))
            await town.eventually(lambda: "答：二？" in town.texts())
            assert town.world.counts["evictions"] == 0
            assert town.world.counts["socket connections"] == 2

    play(scenario, limits={"lease_s": 2.0})


def test_a_killed_owner_s_messages_are_answered_by_the_next(play):
    async def scenario(town):
        async def killed():
            town.model.before_answer = None
            kill(town.service)

        await connected(town)
        async with town.replica() as second:
            town.model.before_answer = killed
            await town.users.say(LINE, Said("u1", "单号？", (JPEG,)))
            await town.eventually(lambda: second.platforms[LINE].link.connected)
            await town.eventually(lambda: "答：单号？" in town.texts())
            await town.eventually(town.all_ended)
            assert town.texts() == ["答：单号？"]

    play(scenario, limits={"lease_s": 2.0})


def test_an_owner_that_loses_its_lease_lets_go_before_another_takes_the_bot(play):
    async def scenario(town):
        await connected(town)
        first, name = town.service, f"socket/{town.settings.sockets['line'].bot_id}"
        leases = first.platforms[LINE]._keeper._leases

        async def unreachable(*args):
            raise ConnectionError("the database is away")

        taken, leases.take = leases.take, unreachable
        async with town.replica() as second:
            await connected(town, second)
            assert not first.platforms[LINE].link.connected
            assert town.world.counts["evictions"] == 0
            leases.take = taken
        await connected(town)
        assert await first.leases.take(name, first.owner, 2.0)

    play(scenario, limits={"lease_s": 2.0})


def test_two_bots_in_one_application_have_a_connection_each(play):
    async def scenario(town):
        for name in ("line", "other"):
            await town.users.say(f"socket/{name}", Said("u1", f"{name}？", (PNG,)))
        await town.eventually(lambda: sorted(town.texts()) == ["答：line？", "答：other？"])
        assert town.world.counts["socket connections"] == 2

    play(scenario, sockets={"line": {}, "other": {"bot_id": "aibOther", "secret": "o" * 43}})
