"""What is counted of requests while parts of the service die."""

from dataclasses import replace

from benchmarks.chaos import EVENTS, outcome, table, two_of_each
from benchmarks.load.generator import Sent

ANSWERED = Sent(0.0, 1.0, 500.0, "full", "", True, "field", "")
HELD = replace(ANSWERED, level="holding", right=False)
FAILED = replace(ANSWERED, level="", fault="503 unavailable", right=False)
LOST = replace(ANSWERED, level="", fault="nothing within 60 s", right=False, ms=60_000.0)


def test_every_request_is_counted_once():
    found = outcome([ANSWERED, replace(ANSWERED, right=False), HELD, FAILED, FAILED, LOST])
    assert (found.requests, found.answered, found.held, found.lost) == (6, 2, 1, 1)
    assert found.failed == {"503 unavailable": 2}
    assert found.right_share == 0.5
    assert found.slowest_ms == 60_000.0


def test_a_line_of_the_table_tells_failures_and_losses():
    assert "| it dies | 2 | 0 | 0 | 1 | 1 |" in table({"it dies": outcome([FAILED, LOST])})


def test_the_service_has_two_of_everything():
    config = two_of_each(8123)
    for one in config["applications"][0]["deployments"]:
        scaling = one["autoscaling_config"]
        assert scaling["min_replicas"] == scaling["max_replicas"] == 2
    assert "nothing" in EVENTS
