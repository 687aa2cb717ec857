"""What goes out: written down first, repeated only where that does no harm, and never more than the quota."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.store.inbox import Inbox
from deployments.store.outbox import TWIN, Outbox, Sending, Sent, wait_s
from deployments.store.shared import Leases, StoredToken, Tokens
from tests.deployments.store.test_inbox import new

PART = Sending(1, "message_send", "answer", 0, "订单正在退款", True, "app:u1", ((2, 60.0), (5, 3600.0)))


@pytest.fixture
def outbox(database, clock, run):
    for n in range(9):
        run(Inbox(database, clock).put(new(f"k{n}", picture=True, chat=f"c{n}"), 8, 600))
    return Outbox(database, clock)


def test_a_send_is_written_down_and_finished(outbox, run):
    reserved = run(outbox.reserve(PART))
    assert (reserved.state, reserved.again, reserved.body) == (Sent.SENDING, False, "订单正在退款")
    run(outbox.finish(reserved.id, Sent.SENT, "0"))
    assert run(outbox.reserve(PART)).state is Sent.SENT
    assert run(outbox.counts()) == {"sent": 1}


def test_what_a_crash_cut_short_is_sent_again_if_that_does_no_harm_with_the_same_words(outbox, run):
    run(outbox.reserve(PART))
    again = run(outbox.reserve(replace(PART, body="other words")))
    assert (again.state, again.again, again.body) == (Sent.SENDING, True, "订单正在退款")
    assert run(outbox.of(1))[0]["attempts"] == 2


def test_what_was_not_sent_is_no_attempt_and_what_a_crash_cut_short_stays_so(outbox, run):
    first = run(outbox.reserve(PART))
    run(outbox.postpone(first.id, first.again, "not connected"))
    second = run(outbox.reserve(PART))
    assert (second.again, second.attempts) == (False, 1)
    third = run(outbox.reserve(PART))  # the second was cut short
    run(outbox.postpone(third.id, third.again, "not connected"))
    fourth = run(outbox.reserve(PART))
    assert (fourth.again, fourth.attempts) == (True, 2)


def test_any_other_is_in_doubt_and_stays_so(outbox, run):
    push = replace(PART, repeatable=False)
    run(outbox.reserve(push))
    for _ in range(2):
        assert run(outbox.reserve(push)).state is Sent.IN_DOUBT
    assert run(outbox.counts()) == {"in_doubt": 1}


def test_a_quota_counts_over_all_messages_and_windows(outbox, run, clock):
    for n in range(2):
        assert run(outbox.reserve(replace(PART, message_id=n + 1))).wait_s == 0
    assert run(outbox.reserve(replace(PART, message_id=3))).wait_s == 60
    assert run(outbox.reserve(replace(PART, message_id=3, quota_key="app:u2"))).wait_s == 0
    clock.now += 60
    for n in range(2):
        assert run(outbox.reserve(replace(PART, message_id=n + 4))).wait_s == 0
    clock.now += 60
    assert run(outbox.reserve(replace(PART, message_id=6))).wait_s == 0
    clock.now += 60
    assert run(outbox.reserve(replace(PART, message_id=7))).wait_s == 3600 - 180


def test_a_text_that_equals_an_earlier_one_to_the_same_receiver_differs_unseen(outbox, run, clock):
    free = replace(PART, quota=())
    assert run(outbox.reserve(free, twins_s=60)).body == PART.body
    assert run(outbox.reserve(replace(free, message_id=2), twins_s=60)).body == PART.body + TWIN
    assert run(outbox.reserve(replace(free, position=1), twins_s=60)).body == PART.body + TWIN * 2
    assert run(outbox.reserve(replace(free, message_id=2), twins_s=60)).body == PART.body + TWIN  # sent again
    clock.now += 61
    assert run(outbox.reserve(replace(free, message_id=3), twins_s=60)).body == PART.body


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(1, 5), st.floats(1, 100))
def test_after_the_wait_one_more_fits(times, number, window):
    newest, now = sorted(times, reverse=True), 100.0
    wait = wait_s(newest, [(number, window)], now)
    assert wait >= 0
    within = [at for at in newest if at > now + wait - window + 1e-9]
    assert len(within) < number or wait == 0
    if wait == 0:
        assert len([at for at in newest if at > now - window]) < number


def test_a_token_is_shared_and_replaced(database, run):
    tokens = Tokens(database)
    assert run(tokens.get("corp/1")) is None
    run(tokens.put("corp/1", StoredToken("a", 1.0)))
    run(tokens.put("corp/1", StoredToken("b", 2.0)))
    assert run(tokens.get("corp/1")) == StoredToken("b", 2.0)


def test_a_name_has_one_holder_until_it_is_given_back_or_has_run_out(database, clock, run):
    leases = Leases(database, clock)
    assert run(leases.take("socket/a", "one", 20))
    assert not run(leases.take("socket/a", "two", 20))
    assert run(leases.take("socket/a", "one", 20))
    clock.now += 21
    assert run(leases.take("socket/a", "two", 20))
    assert not run(leases.take("socket/a", "one", 20))
    run(leases.give_back("socket/a", "one"))
    assert not run(leases.take("socket/a", "one", 20))
    run(leases.write("socket/a", "two", "[1]"))
    run(leases.give_back("socket/a", "two"))
    clock.now += 1
    assert run(leases.take("socket/a", "one", 20))
    assert run(leases.note("socket/a")) == "[1]"
