"""The peak in short: bursts of repeated callbacks beside a saturated model; and with replicas killed on the way."""

import asyncio

from benchmarks.wecom_peak import Peak, play

SHORT = {"callbacks": 120, "users": 40, "burst": 60, "every_s": 1.0, "poll_s": 0.5, "lease_s": 3.0}


def test_two_replicas_killed_in_the_middle_lose_nothing_and_double_nothing(postgres, tmp_path):
    peak = Peak(store_url=postgres.fresh(), replicas=2, kill=True, rate=40.0, **SHORT)
    result = asyncio.run(play(peak, tmp_path))
    assert result.faults(killed=True) == [], str(result)
    assert result.deliveries > 1.2 * result.expected
    assert result.evictions == 0


def test_beside_a_saturated_model_wecom_never_has_to_send_a_callback_again(tmp_path):
    result = asyncio.run(play(Peak(rate=20.0, **SHORT), tmp_path))
    faults = [fault for fault in result.faults(killed=False) if "p99" not in fault]  # a busy machine is no fault
    assert faults == [], str(result)
    assert "retries" not in result.counts
    assert max(result.acknowledged_s) < 5.0
    assert result.states == {"answered": result.expected}
