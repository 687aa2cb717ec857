"""The long connection as a state machine: what each frame means, in any order in which WeCom sends them."""

import itertools
import json

import pytest

from deployments.wecom.sockets.protocol import (
    Acknowledged,
    Came,
    Ignored,
    Over,
    Protocol,
    State,
    Subscribed,
    Why,
)


@pytest.fixture
def protocol():
    numbers = itertools.count(1)
    return Protocol("aib1", "hush", 30.0, lambda: f"id{next(numbers)}")


def ack(req_id, code=0):
    return json.dumps({"headers": {"req_id": req_id}, "errcode": code, "errmsg": "x"})


def event(name, place="nested"):
    body = {"eventtype": name} if place == "flat" else {"event": {"eventtype": name}}
    return json.dumps({"cmd": "aibot_event_callback", "headers": {"req_id": "q"}, "body": {"msgtype": "event"} | body})


def subscribed(protocol, now=0.0):
    protocol.opened()
    assert isinstance(protocol.received(ack("id1"), now), Subscribed)


def test_the_first_frame_subscribes_with_id_and_secret(protocol):
    frame = json.loads(protocol.opened())
    assert frame == {
        "cmd": "aibot_subscribe",
        "headers": {"req_id": "id1"},
        "body": {"bot_id": "aib1", "secret": "hush"},
    }


def test_nothing_but_the_subscription_s_own_acknowledgement_subscribes(protocol):
    protocol.opened()
    for text in (ack("other"), event("auth_change_event"), json.dumps({"errcode": 0}), "{", "[]"):
        assert not isinstance(protocol.received(text, 0.0), Subscribed)
        assert protocol.state is State.SUBSCRIBING
    assert isinstance(protocol.received(ack("id1"), 0.0), Subscribed)


def test_messages_before_the_acknowledgement_are_messages(protocol):
    protocol.opened()
    frame = {"cmd": "aibot_msg_callback", "headers": {"req_id": "q1"}, "body": {"msgid": "1"}}
    found = protocol.received(json.dumps(frame), 0.0)
    assert isinstance(found, Came)
    assert (found.frame.req_id, found.is_event) == ("q1", False)


def test_a_refused_subscription_is_the_end_and_says_why(protocol):
    protocol.opened()
    found = protocol.received(ack("id1", 853000), 0.0)
    assert found == Over(Why.REFUSED, "errcode 853000: bot id or secret is wrong", 853000)
    assert protocol.state is State.OVER


@pytest.mark.parametrize("place", ["nested", "flat"])
def test_the_event_of_another_s_subscription_is_an_eviction(protocol, place):
    subscribed(protocol)
    assert protocol.received(event("disconnected_event", place), 1.0).why is Why.EVICTED


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"cmd": "aibot_get_mcp_config", "headers": {"req_id": "q"}, "body": {}}),
        json.dumps({"cmd": "aibot_send_biz_msg"}),
        "not json",
        '{"cmd": 7, "headers": [], "body": "x"}',
        "[" * 100_000,
    ],
)
def test_what_nobody_understands_is_ignored(protocol, text):
    subscribed(protocol)
    assert isinstance(protocol.received(text, 1.0), Ignored)
    assert protocol.state is State.SUBSCRIBED


def test_raw_control_characters_inside_texts_are_read(protocol):
    subscribed(protocol)
    text = '{"cmd": "aibot_msg_callback", "headers": {"req_id": "q"}, "body": {"text": {"content": "a\nb"}}}'
    assert protocol.received(text, 1.0).frame.body["text"]["content"] == "a\nb"


def test_heartbeats_begin_with_the_subscription_and_two_missed_ones_are_the_end(protocol):
    protocol.opened()
    assert protocol.due(1000.0) is None
    protocol.received(ack("id1"), 0.0)
    assert protocol.due(29.0) is None
    assert json.loads(protocol.due(30.0)) == {"cmd": "ping", "headers": {"req_id": "id2"}}
    assert protocol.due(31.0) is None
    assert json.loads(protocol.due(60.0))["headers"] == {"req_id": "id3"}
    assert protocol.due(90.0).why is Why.DEAD


def test_a_late_answer_to_a_heartbeat_is_a_sign_of_life(protocol):
    subscribed(protocol)
    protocol.due(30.0), protocol.due(60.0)
    assert isinstance(protocol.received(ack("id2"), 80.0), Acknowledged)
    assert isinstance(protocol.due(90.0), str)


def test_a_heartbeat_answered_with_not_subscribed_is_the_end(protocol):
    subscribed(protocol)
    protocol.due(30.0)
    assert protocol.received(ack("id2", 846609), 31.0).why is Why.UNSUBSCRIBED
