"""Bodies go on at once up to a burst, and at a rate beyond."""

import pytest

from deployments.ingress.http.border.flow import AT_ONCE, BYTES_PER_S, Flow


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def flow(clock):
    return Flow(lambda: clock[0])


def test_pictures_as_people_send_them_do_not_wait(flow):
    assert max(flow.wait_s(64 * 1024) for _ in range(AT_ONCE // (64 * 1024))) == pytest.approx(0.0, abs=1e-9)


def test_beyond_the_burst_each_byte_has_its_time(flow):
    flow.wait_s(AT_ONCE)
    assert flow.wait_s(BYTES_PER_S) == pytest.approx(1.0)
    assert flow.wait_s(BYTES_PER_S) == pytest.approx(2.0)


def test_time_that_goes_by_is_room_for_no_more_than_a_burst(flow, clock):
    flow.wait_s(AT_ONCE + BYTES_PER_S)
    clock[0] += 1000
    assert flow.wait_s(AT_ONCE) == pytest.approx(0.0)
    assert flow.wait_s(BYTES_PER_S) == pytest.approx(1.0)
