"""The peak in short: bursts of repeated callbacks, a saturated model, replicas killed on the way, both databases."""

import asyncio

import pytest

from benchmarks.wecom_peak import Peak, play

SHORT = {"callbacks": 300, "users": 75, "burst": 150, "every_s": 2.0, "poll_s": 0.5, "rate": 40.0}


@pytest.mark.parametrize(("database", "replicas"), [("sqlite", 1), ("postgresql", 2)])
def test_killed_in_the_middle_of_a_peak_nothing_is_lost_and_nothing_is_doubled(request, tmp_path, database, replicas):
    url = request.getfixturevalue("postgres").fresh() if database == "postgresql" else ""
    result = asyncio.run(play(Peak(store_url=url, replicas=replicas, kill=True, **SHORT), tmp_path))
    assert result.faults(killed=True) == [], str(result)
    assert result.deliveries > 1.2 * result.expected
    assert result.evictions == 0


def test_a_short_peak_is_acknowledged_within_a_second(tmp_path):
    result = asyncio.run(play(Peak(**SHORT | {"rate": 15.0}), tmp_path))
    assert result.faults(killed=False) == [], str(result)
    assert result.ledger.held_first > 0
    assert result.states == {"answered": result.expected}
