"""Messages: one insert each however often they come, one worker at a time, one end."""

import asyncio

import pytest
from sqlalchemy import select

from deployments.store.database import opened
from deployments.store.inbox import Inbox, LeaseLost
from deployments.store.retention import purge
from deployments.store.rows import NewMessage, State
from deployments.store.tables import messages, pictures

SURFACE = "app/desk"


def new(key, chat="u1", picture=False, words=True, at=1_700_000_000.0, **more):
    return NewMessage(SURFACE, key, chat, more.pop("sender", chat), at, "{}", picture, words, **more)


@pytest.fixture
def inbox(database, clock):
    return Inbox(database, clock)


@pytest.fixture
def put(inbox, run, clock):
    def put(key, window_s=8.0, remember_s=600.0, **more):
        return run(inbox.put(new(key, at=clock.now, **more), window_s, remember_s))

    return put


def claimed(inbox, run, owner="me", most=10):
    return [message.dedup_key for message in run(inbox.claim(owner, [SURFACE], most, 20))]


def test_however_often_and_at_once_a_message_comes_it_is_stored_once(inbox, run):
    async def deliver():
        one = [inbox.put(new("k", words=True, picture=True), 8, 600) for _ in range(40)]
        return await asyncio.gather(*one)

    stored = run(deliver())
    assert len({message.id for message, _ in stored}) == 1
    assert sum(is_new for _, is_new in stored) == 1


def test_equal_keys_of_two_surfaces_are_two_messages(inbox, run):
    other = NewMessage("bot/shop", "k", "u1", "u1", 0.0, "{}", True, True)
    first, _ = run(inbox.put(new("k", picture=True), 8, 600))
    second, is_new = run(inbox.put(other, 8, 600))
    assert is_new
    assert first.id != second.id


def test_what_a_database_cannot_hold_is_stored_without_it(put):
    message, _ = put("k\0\ud800", chat="u\0")
    assert (message.dedup_key, message.chat) == ("k?", "u")


def test_two_who_claim_at_once_get_no_message_twice(url, clock, run):
    one, two = opened(url, 4), opened(url, 4)

    async def race():
        inboxes = [Inbox(one, clock), Inbox(two, clock)]
        for n in range(60):
            await inboxes[0].put(new(f"k{n}", chat=f"u{n}", picture=True), 8, 600)
        turns = [inboxes[n % 2].claim(f"owner{n % 2}", [SURFACE], 5, 20) for n in range(40)]
        return [message.id for found in await asyncio.gather(*turns) for message in found]

    ids = run(race())
    assert len(ids) == len(set(ids)) == 60
    one.close()
    two.close()


def test_a_chat_is_answered_in_the_order_of_its_questions(inbox, put, run, clock):
    put("a1", picture=True)
    put("a2", picture=True)
    put("b1", picture=True, chat="u2")
    assert claimed(inbox, run) == ["a1", "b1"]
    assert claimed(inbox, run) == []
    assert run(inbox.end(1, State.ANSWERED, "", "me"))
    assert claimed(inbox, run) == ["a2"]


def test_a_message_put_back_until_later_still_holds_its_place(inbox, put, run, clock):
    put("a1", picture=True)
    put("a2", picture=True)
    claimed(inbox, run)
    run(inbox.put_back(1, "me", clock.now + 5))
    assert claimed(inbox, run) == []
    clock.now += 5
    assert claimed(inbox, run, "other") == ["a1"]


def test_a_lease_that_ran_out_is_another_s_and_whoever_had_it_is_told(inbox, put, run, clock):
    put("a1", picture=True)
    assert claimed(inbox, run, "dead") == ["a1"]
    clock.now += 19
    assert claimed(inbox, run, "heir") == []
    clock.now += 2
    assert claimed(inbox, run, "heir") == ["a1"]
    with pytest.raises(LeaseLost):
        run(inbox.change(1, "dead", answer="late"))
    assert not run(inbox.end(1, State.ANSWERED, "", "dead"))


def test_a_lease_that_is_renewed_stays(inbox, put, run, clock):
    put("a1", picture=True)
    claimed(inbox, run, "me")
    for _ in range(5):
        clock.now += 15
        assert run(inbox.renew("me", 20)) == 1
    assert claimed(inbox, run, "other") == []


def test_a_message_ends_once(inbox, put, run):
    put("a1", picture=True)
    assert run(inbox.end(1, State.ANSWERED, "sent"))
    assert not run(inbox.end(1, State.GIVEN_UP, "too late"))
    message = run(inbox.get(1))
    assert (message.state, message.reason) == (State.ANSWERED, "sent")


def state_of(inbox, run, key):
    wanted = select(messages).where(messages.c.dedup_key == key)
    row = run(inbox._database.run(lambda c: c.execute(wanted).mappings().one()))
    return row["state"], row["joined_to"], row["picture_of"], row["words_of"]


@pytest.mark.parametrize("first_is_picture", [True, False], ids=["picture-first", "question-first"])
def test_picture_and_question_become_one_and_end_together(inbox, put, run, first_is_picture):
    put("first", picture=first_is_picture, words=not first_is_picture)
    assert claimed(inbox, run) == []
    put("second", picture=not first_is_picture, words=first_is_picture)
    assert claimed(inbox, run) == ["second"]
    assert state_of(inbox, run, "first")[:2] == ("joined", 2)
    assert state_of(inbox, run, "second")[2:] == ((1, None) if first_is_picture else (None, 1))
    run(inbox.end(2, State.ANSWERED, "sent", "me"))
    assert run(inbox.get(1)).reason == "with message 2: sent"


@pytest.mark.parametrize("who", [{"sender": "u9"}, {"chat": "u9"}])
def test_nobody_else_s_picture_is_taken(inbox, put, run, who):
    put("p", picture=True, words=False, chat="g1", sender="u1")
    put("q", **{"chat": "g1", "sender": "u1"} | who)
    assert state_of(inbox, run, "p")[0] == "waiting"
    assert state_of(inbox, run, "q")[0] == "waiting"


def test_what_waits_in_vain_is_due_after_the_window(inbox, put, run, clock):
    put("p", picture=True, words=False)
    clock.now += 7.9
    assert claimed(inbox, run) == []
    clock.now += 0.2
    assert claimed(inbox, run) == ["p"]


def test_without_a_window_nothing_waits(inbox, put, run):
    put("p", picture=True, words=False, window_s=0)
    assert claimed(inbox, run) == ["p"]


def test_a_picture_that_is_being_worked_on_is_not_taken_back_but_remembered(inbox, put, run, clock):
    put("p", picture=True, words=False)
    clock.now += 9
    claimed(inbox, run)
    put("q")
    assert state_of(inbox, run, "p")[0] == "waiting"
    assert state_of(inbox, run, "q")[2] == 1


def test_a_later_question_is_about_the_last_picture_for_ten_minutes(inbox, put, run, clock):
    put("p1", picture=True)
    put("p2", picture=True)
    clock.now += 599
    put("q1")
    assert state_of(inbox, run, "q1") == ("ready", None, 2, None)
    clock.now += 2
    put("q2")
    assert state_of(inbox, run, "q2")[0] == "waiting"


def test_the_same_question_twice_is_two_questions(inbox, put, run, clock):
    put("p", picture=True)
    put("q1")
    put("q2")
    assert [state_of(inbox, run, key)[2] for key in ("q1", "q2")] == [1, 1]


def test_pictures_are_kept_once_with_the_reason_where_there_are_none(inbox, put, run):
    put("p", picture=True)
    run(inbox.picture(1, 0, b"jpeg", None))
    run(inbox.picture(1, 0, b"other", None))
    run(inbox.picture(1, 1, None, "fetch_failed"))
    assert run(inbox.pictures(1)) == {0: (b"jpeg", None), 1: (None, "fetch_failed")}


def test_what_ended_long_ago_goes_pictures_first_and_what_is_open_stays(inbox, database, put, run, clock):
    put("old", picture=True)
    put("open", picture=True, chat="u2")
    for id in (1, 2):
        run(inbox.picture(id, 0, b"x" * 1000, None))
    run(inbox.end(1, State.ANSWERED, ""))
    clock.now += 3601
    assert run(purge(database, clock.now, 86400, 3600)) == 1
    assert run(inbox.pictures(1)) == {}
    assert run(inbox.pictures(2)) == {0: (b"x" * 1000, None)}
    clock.now += 86400
    assert run(purge(database, clock.now, 86400, 3600)) == 1
    assert run(purge(database, clock.now, 86400, 3600)) == 0
    assert [row[0] for row in run(database.run(lambda c: c.execute(select(messages.c.dedup_key)).all()))] == ["open"]
    assert len(run(database.run(lambda c: c.execute(select(pictures.c.message_id)).all()))) == 1


def test_messages_are_counted_by_surface_and_state(inbox, put, run):
    put("a", picture=True)
    put("b", picture=True)
    run(inbox.end(1, State.GIVEN_UP, "expired"))
    assert run(inbox.counts()) == {SURFACE: {"ready": 1, "given_up": 1}}
