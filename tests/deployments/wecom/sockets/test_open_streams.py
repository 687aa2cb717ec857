"""Streams that are pushed: until when each can be changed, and which must be brought to an end."""

from deployments.wecom.sockets.open_streams import LASTS_S, REMEMBERED, OpenStreams


def test_a_message_can_be_answered_for_a_day_and_a_stream_that_has_begun_for_minutes():
    streams = OpenStreams()
    streams.came("m1", "q1")
    assert streams.expires_at("m1", 1000.0, 86400.0) == 87400.0
    streams.of("m1", "q1").began_at = 5000.0
    assert streams.expires_at("m1", 1000.0, 86400.0) == 5000.0 + LASTS_S
    streams.of("m1", "q1").ended = True
    assert streams.expires_at("m1", 1000.0, 86400.0) == 0.0


def test_only_streams_that_have_begun_and_not_ended_are_overdue():
    streams = OpenStreams()
    for key, began_at, ended in (
        ("never", None, False),
        ("open", 0.0, False),
        ("young", 100.0, False),
        ("over", 0.0, True),
    ):
        stream = streams.of(key, "q")
        stream.began_at, stream.ended = began_at, ended
    assert [stream.key for stream in streams.overdue(LASTS_S + 1)] == ["open"]


def test_a_message_that_comes_again_over_another_connection_is_answered_there():
    streams = OpenStreams()
    streams.came("m1", "of the old connection")
    streams.came("m1", "of the new one")
    assert streams.of("m1", "of the old connection").req_id == "of the new one"


def test_the_oldest_are_forgotten():
    streams = OpenStreams()
    for number in range(REMEMBERED + 5):
        streams.came(f"m{number}", "q")
    assert streams.expires_at("m0", 7.0, 1.0) == 8.0
    assert len(streams._streams) == REMEMBERED
