"""What the graph adds: how rounds become figures, and the model that answers at once."""

from dataclasses import replace
from typing import Any

from benchmarks.overhead.__main__ import MANY, Round, paired_ms, result, table
from benchmarks.overhead.direct import Direct, user_config
from benchmarks.peers.figures import Figures

INSTANT = Figures(
    requests_per_s=90.0, p50_ms=20.0, p99_ms=30.0, tokens_per_s=0.0, right_share=0.0, errors=0,
    cpu_ms_per_request={"proxy": 5.0, "ingress": 9.0}, stages_ms={}, client_cpu_share=0.1, others_cpu_share=0.0,
)  # fmt: skip


def a_round(slower_by_ms: float) -> Round:
    many = replace(INSTANT, p50_ms=150.0, cpu_ms_per_request={"proxy": 4.0, "ingress": 8.0})
    service = [100.0 + slower_by_ms, 60.0 + slower_by_ms, None, 300.0 + slower_by_ms]
    return Round({1: INSTANT, MANY: many}, service, Direct([108.0, 68.0, 98.0, 308.0], [100.0, 60.0, 99.0, 300.0]))


def test_the_overhead_is_the_service_less_the_engine():
    assert paired_ms(a_round(33.0)) == 33.0
    found = result([a_round(33.0), a_round(31.0), a_round(90.0)])
    assert found["p50_ms"] == 20.0
    assert found["direct_p50_ms"] == 108.0
    assert found["cpu_ms_per_request"] == {"proxy": 5.0, "ingress": 9.0}
    assert found["cpu_ms_per_request_16"] == {"proxy": 4.0, "ingress": 8.0}
    assert (found["service_p50_ms"], found["engine_p50_ms"]) == (133.0, 100.0)
    assert found["graph_overhead_ms"] == found["paired_overhead_ms"] == 33.0


def test_the_table_lists_what_costs_most_first():
    lines = table(result([a_round(33.0)])).splitlines()
    assert "| **the graph's overhead**: the service less the engine | 33.0 |" in lines
    assert lines[-3:] == ["| ingress | 9.0 | 8.0 |", "| proxy | 5.0 | 4.0 |", "| **sum** | 14.0 | 12.0 |"]


def test_knobs_are_those_of_the_config():
    application: dict[str, Any] = {"deployments": [{"name": "Model", "user_config": {"level": "full"}}, {"name": "X"}]}
    assert user_config(application, "Model") == {"level": "full"}
    assert user_config(application, "X") == user_config(application, "Y") == {}
