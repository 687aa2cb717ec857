"""How many replicas: by demand before degradation, quickly up, without flapping, and without ever raising."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from deployments import scaling
from deployments.scaling import ANSWERS, OFFERED, Scaling, needed, steady

NAMES = ("Ingress", "Preprocessor", "Model")
ARGUMENTS = {"full_cost": 2.0, "busy": 0.8, "models_per_preprocessor": 2.0, "ingress_per_s": 100.0}


def context(name, target=1, requests=0.0, metrics=None):
    """As Serve makes it."""
    return AutoscalingContext(
        DeploymentID(name, "app"), name, "app", target, target, [], requests, 0.0, metrics or {}, {}, 1, 10, {}, None, None,
        0.0, AutoscalingConfig(min_replicas=1, max_replicas=10, target_ongoing_requests=5),
    )  # fmt: skip


def decided(model_metrics, target=1, requests=0.0, ingress=0.0, policy=None):
    contexts = {
        "i": context("Ingress", target, 0.0, {OFFERED: {"r": ingress}}),
        "p": context("Preprocessor", target),
        "m": context("Model", target, requests, model_metrics),
    }
    replicas, _ = (policy or Scaling(**ARGUMENTS))(contexts)
    return {contexts[key].deployment_name: number for key, number in replicas.items()}


def test_demand_is_counted_at_the_best_level():
    """Ten answers a second a replica, greedy; with beams half; at most four fifths of the time."""
    assert needed(16, 10, 2.0, 0.8) == pytest.approx(4.0)
    assert decided({OFFERED: {"a": 16.0}, ANSWERS: {"a": 10.0}})["Model"] == 4


def test_what_is_refused_counts_and_requests_under_way_alone_do_not_say_it():
    """At holding a bounded number is under way, whatever is asked: a policy that counts those sees no more than it has."""
    assert decided({OFFERED: {"a": 60.0}, ANSWERS: {"a": 10.0}}, requests=5)["Model"] == 15
    assert decided({}, requests=5)["Model"] == 1


def test_replicas_that_have_only_begun_count_for_what_they_are_asked():
    metrics = {OFFERED: {"a": 10.0, "b": 6.0}, ANSWERS: {"a": 10.0, "b": 0.0}}
    assert decided(metrics, target=2)["Model"] == 4


def test_before_any_replica_knows_its_pace_the_queue_counts():
    assert decided({OFFERED: {"a": 99.0}, ANSWERS: {"a": 0.0}}, requests=14)["Model"] == 3


def test_the_preprocessor_follows_the_model_and_the_ingress_what_it_is_asked():
    found = decided({OFFERED: {"a": 16.0}, ANSWERS: {"a": 10.0}}, ingress=250.0)
    assert found == {"Model": 4, "Preprocessor": 2, "Ingress": 3}


@pytest.mark.parametrize(
    ("need", "target", "expected"),
    [(0.0, 1, 1), (0.5, 1, 1), (1.01, 1, 2), (3.9, 4, 4), (2.9, 4, 4), (2.6, 4, 3), (0.0, 4, 1), (9.2, 4, 10)],
)
def test_up_at_once_down_only_where_the_rest_have_room(need, target, expected):
    assert steady(need, target) == expected


@given(st.floats(0, 50), st.integers(1, 60), st.floats(-0.04, 0.04))
def test_a_demand_that_trembles_makes_no_replicas_come_and_go(need, target, trembling):
    settled = steady(need, target)
    moved = steady(need * (1 + trembling), settled)
    assert steady(need, moved) == moved or abs(moved - settled) <= 1
    assert steady(need, settled) == settled


@given(
    st.dictionaries(st.sampled_from(["a", "b"]), st.floats(allow_nan=True)),
    st.dictionaries(st.sampled_from(["a", "b"]), st.floats(allow_nan=True)),
    st.floats(0, 100),
)
def test_it_never_raises_and_says_nothing_where_it_knows_nothing(offered, answers, requests):
    found = decided({OFFERED: offered, ANSWERS: answers}, requests=requests)
    assert all(isinstance(number, int) and number >= 1 for number in found.values())


def test_a_policy_that_fails_leaves_everything_as_it_is(caplog):
    broken = {"m": SimpleNamespace(deployment_name="Model")}
    assert Scaling()(broken) == ({}, {})
    assert "replicas stay" in caplog.text


def test_it_can_be_shipped_by_value():
    """Its imports are not shipped with it."""
    tree = ast.parse(Path(scaling.__file__).read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_each_of_several_models_is_scaled_by_what_is_asked_of_it_and_the_preprocessor_by_all():
    paces = {ANSWERS: {"a": 10.0}}
    contexts = {
        "m": context("Model", 1, 0.0, {OFFERED: {"a": 16.0}} | paces),
        "n": context("Model-other", 1, 0.0, {OFFERED: {"a": 24.0}} | paces),
        "p": context("Preprocessor"),
    }
    assert Scaling(**ARGUMENTS)(contexts)[0] == {"m": 4, "n": 6, "p": 5}
