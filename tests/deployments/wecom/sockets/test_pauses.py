"""How long is waited: after failures in a row, and after a foreign client has taken the bot."""

import pytest

from deployments.wecom.sockets.pauses import Backoff, retake_pause_s
from deployments.wecom.sockets.protocol import Over, Why

LOST, REFUSED = Over(Why.CLOSED), Over(Why.REFUSED, "", 853000)


def test_pauses_grow_to_half_a_minute_and_go_on():
    backoff = Backoff()
    assert [backoff.after(LOST, None) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_connection_without_an_acknowledgement_resets_nothing_however_long_it_lasted():
    backoff = Backoff()
    assert [backoff.after(Over(Why.UNANSWERED), None) for _ in range(3)] == [1, 2, 4]


def test_an_acknowledged_subscription_ends_the_row():
    backoff = Backoff()
    for _ in range(6):
        backoff.after(LOST, None)
    assert backoff.after(LOST, 3600.0) == 1


def test_acknowledged_connections_that_last_a_moment_make_no_storm():
    backoff = Backoff()
    assert [backoff.after(LOST, 0.1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(LOST, 60.0) == 1


def test_a_refused_id_or_secret_is_asked_about_ever_more_seldom():
    backoff = Backoff()
    assert [backoff.after(REFUSED, None) for _ in range(11)][-4:] == [128, 256, 300, 300]


def test_retakes_double_their_pause_and_stop_for_the_rest_of_the_hour():
    taken, now = [], 1000.0
    for expected in (30.0, 60.0, 120.0):
        pause = retake_pause_s(taken, now, 3, 30.0)
        assert pause == expected
        taken.append(now + pause)
        now += pause + 5
    pause = retake_pause_s(taken, now, 3, 30.0)
    assert now + pause == taken[0] + 3600
    assert retake_pause_s(taken, now + 3 * 3600, 3, 30.0) == 30.0


@pytest.mark.parametrize("taken", [[], [990.0]])
def test_without_retakes_an_evicted_bot_stays_down(taken):
    assert retake_pause_s(taken, 1000.0, 0, 30.0) is None
