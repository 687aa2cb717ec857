"""Models beside the first: known by their names, their settings and knobs checked like the first one's."""

from pathlib import Path

import pytest
import yaml

from serve_app.check import check

CONFIG = (Path(__file__).resolve().parents[3] / "serve_config.yaml").read_text()
SECOND = {"checkpoint": "./demo/checkpoint", "name": "second", "gpu_fraction": 0.5}


def with_second(model=SECOND, **deployment):
    config = yaml.safe_load(CONFIG)
    [application] = config["applications"]
    application["args"]["more_models"] = [model]
    listed = next(entry for entry in application["deployments"] if entry["name"] == "Model")
    application["deployments"].append(listed | {"name": "Model-second"} | deployment)
    return yaml.safe_dump(config, allow_unicode=True)


def test_a_second_model_with_its_own_deployment_is_fine():
    assert check(with_second()) == []


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        (with_second(name="Model-secnd"), "deployments", "has the deployment 'Model-secnd' (did you mean 'Model-second'?)"),
        (with_second(user_config={"beam_width": 99}), "user_config.beam_width", "less than or equal to 16"),
        (with_second(user_config={"zebra": 1}), "user_config", "unknown key 'zebra'"),
        (with_second(SECOND | {"name": "tuwen-demo"}, name="Model"), "args", "two models have the name tuwen-demo"),
        (with_second(SECOND | {"checkpoint": "./nowhere"}), "args.more_models", "nowhere does not exist"),
        (with_second(SECOND | {"quantization": "int8"}), "args.more_models", "must be 'none', 'nf4' or 'nf4+vision'"),
    ],
    ids=["a deployment of nobody", "a knob out of range", "an unknown knob", "a name twice", "no folder", "a bad value"],
)  # fmt: skip
def test_what_is_wrong_with_it_is_named_at_its_place(text, path, says):
    problems = check(text)
    assert any(says in problem.message for problem in problems), problems
    assert any(path in problem.path for problem in problems if says in problem.message)
