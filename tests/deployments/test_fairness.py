"""Whose turn it is: no flow takes another's share, and none starves."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deployments.contract import Flow
from deployments.fairness import FairOrder

A, B, C = Flow("a"), Flow("b"), Flow("c")


def served(order, waiting, count):
    """The flows of the first ``count`` that are served, of (tag, flow) that wait."""
    found = []
    for tag, flow in sorted(waiting, key=lambda one: one[0])[:count]:
        order.leave(flow, tag)
        found.append(flow)
    return found


def test_one_flow_is_first_come_first_served():
    order = FairOrder()
    tags = [order.enter(A) for _ in range(5)]
    assert tags == sorted(tags)
    assert len(set(tags)) == 5


def test_who_sends_ten_times_as_much_stands_behind_himself():
    order = FairOrder()
    greedy = [(order.enter(A), A) for _ in range(100)]
    assert order.ahead(B) <= 1
    others = [(order.enter(flow), flow) for flow in (B, C) for _ in range(10)]
    assert Counter(served(order, greedy + others, 30)) == {A: 10, B: 10, C: 10}


def test_a_tenant_s_users_share_what_one_tenant_has():
    order, many = FairOrder(), [Flow("a", f"user {number}") for number in range(10)]
    waiting = [(order.enter(flow), flow) for _ in range(10) for flow in many]
    waiting += [(order.enter(B), B) for _ in range(20)]
    first = Counter(flow.tenant for flow in served(order, waiting, 40))
    assert first["b"] >= 15


def test_work_that_nobody_waits_for_comes_later_and_does_come():
    order, batch = FairOrder(), Flow("a", batch=True)
    waiting = [(order.enter(batch), batch) for _ in range(50)]
    waiting += [(order.enter(B), B) for _ in range(50)]
    first = Counter(flow.batch for flow in served(order, waiting, 45))
    assert first[False] == 40
    assert first[True] == 5


def test_silence_is_not_paid_back():
    order = FairOrder()
    for _ in range(100):
        order.leave(A, order.enter(A))
    waiting = [(order.enter(flow), flow) for _ in range(10) for flow in (A, B)]
    assert Counter(served(order, waiting, 10)) == {A: 5, B: 5}


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=60))
def test_nothing_is_remembered_of_who_has_gone(steps):
    order, waiting = FairOrder(), []
    for user, batch, leaves in steps:
        if leaves and waiting:
            tag, flow = waiting.pop(user % len(waiting))
            order.leave(flow, tag)
        else:
            flow = Flow("tenant", str(user), batch)
            waiting.append((order.enter(flow), flow))
        assert len(order) == len(waiting)
        assert order.ahead(A) <= len(waiting)
    for tag, flow in waiting:
        order.leave(flow, tag)
    assert len(order) == 0
    assert not order._last
    assert not order._flows_of
