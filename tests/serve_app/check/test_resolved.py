"""What a config amounts to with every default filled in; and nothing, however odd, makes the checker raise."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.check import check, resolved

from .configs import FULL, MERGED, errors, ours


def test_resolved_fills_in_serves_defaults_and_ours() -> None:
    config = resolved(ours("name: Model\nuser_config: {beam_width: 8}", "{model: {device: cpu}}"))
    assert config["http_options"]["port"] == 8000
    assert config["proxy_location"] == "EveryNode"
    (application,) = config["applications"]
    assert (application["name"], application["route_prefix"]) == ("default", "/")
    assert application["args"]["model"]["device"] == "cpu"
    assert application["args"]["model"]["quantization"] == "none"
    assert application["args"]["ingress"]["records"] == 10_000
    (model,) = application["deployments"]
    assert (model["num_replicas"], model["max_ongoing_requests"], model["max_queued_requests"]) == (1, 5, -1)
    assert (model["user_config"]["beam_width"], model["user_config"]["level"]) == (8, "full")
    assert "ray_actor_options" not in model


def test_resolved_fills_in_knobs_that_the_file_leaves_out() -> None:
    (model,) = resolved(ours("name: Model"))["applications"][0]["deployments"]
    assert model["user_config"]["beam_width"] == 4


def test_resolved_shows_what_auto_stands_for() -> None:
    (model,) = resolved(ours("name: Model\nnum_replicas: auto"))["applications"][0]["deployments"]
    assert model["num_replicas"] == "auto"
    scaling = model["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling["look_back_period_s"]) == (1, 100, 30.0)
    assert scaling["policy"]["policy_function"] == "ray.serve.autoscaling_policy:default_autoscaling_policy"


@pytest.mark.parametrize("text", [FULL, ours("name: Model"), ours("name: Model\nnum_replicas: auto"), MERGED])
def test_resolved_is_plain_yaml_that_is_fine_and_complete(text: str) -> None:
    config = resolved(text)
    dumped = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    assert yaml.safe_load(dumped) == config
    assert errors(dumped) == []
    assert resolved(dumped) == config


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["auto", "Model"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "num_replicas", "runtime_env", "policy", "model", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a tree of plain values."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, inner in items for place in places(inner, (*path, step)))]


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The tree with another value at the path."""
    if not path:
        return value
    tree[path[0]] = put(tree[path[0]], path[1:], value)
    return tree


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(places(yaml.safe_load(FULL))), VALUES)
def test_no_value_anywhere_makes_it_raise(path: tuple[Any, ...], value: Any) -> None:
    text = yaml.safe_dump(put(yaml.safe_load(FULL), path, value))
    assert all(problem.line > 0 and problem.message for problem in check(text))
    if errors(text) == []:
        assert yaml.safe_load(yaml.safe_dump(resolved(text)))["applications"] is not None


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!?|>\"'#%@\t\n \x00<0"), max_size=30))
def test_no_text_makes_it_raise(text: str) -> None:
    assert check(text)
