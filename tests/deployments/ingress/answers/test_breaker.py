"""When a service is asked and when it is left alone."""

from dataclasses import dataclass

import pytest

from deployments.ingress.answers.breaker import Breaker


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def test_opens_after_faults_in_a_row_only() -> None:
    breaker = Breaker(faults=3, pause_s=10, clock=Clock())
    told = [breaker.failed(), breaker.failed(), breaker.succeeded(), breaker.failed(), breaker.failed()]
    assert told == [False] * 5
    assert (breaker.status, breaker.allows()) == ("ok", True)
    assert breaker.failed()
    assert (breaker.status, breaker.allows()) == ("open", False)


def test_says_only_once_that_it_opened_and_that_it_closed() -> None:
    breaker = Breaker(faults=1, pause_s=10, clock=Clock())
    assert [breaker.failed(), breaker.failed()] == [True, False]
    assert [breaker.succeeded(), breaker.succeeded()] == [True, False]
    assert breaker.status == "ok"


def test_lets_one_probe_through_per_pause() -> None:
    breaker = Breaker(faults=1, pause_s=10, clock=(clock := Clock()))
    breaker.failed()
    clock.now += 9.9
    assert not breaker.allows()
    clock.now += 0.1
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    assert breaker.status == "open"
    clock.now += 10  # the probe never came back: its caller hung up
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_failed_probe_begins_a_new_pause_and_a_good_one_ends_it() -> None:
    breaker = Breaker(faults=2, pause_s=10, clock=(clock := Clock()))
    breaker.failed(), breaker.failed()
    clock.now += 12
    assert breaker.allows()
    assert not breaker.failed()
    clock.now += 9
    assert not breaker.allows()
    clock.now += 1
    assert breaker.allows()
    assert breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True] * 3
    assert not breaker.failed()  # and it counts from nothing again


@pytest.mark.parametrize(("faults", "pause_s"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_refuses_what_would_never_close_or_always_be_open(faults: int, pause_s: float) -> None:
    with pytest.raises(ValueError, match="a breaker needs"):
        Breaker(faults, pause_s)
