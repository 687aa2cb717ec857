"""Strict linting of a Serve config: Ray Serve drops keys that it does not know, so that a typo passes unnoticed.

Keys, types and bounds come from Serve's own schema classes and from our settings. Nothing here starts Ray. Policies and
routers that the config names are imported, as Serve will do, to see that they are there.
"""

from typing import Any

from ray.serve.schema import ServeDeploySchema

from serve_app.check.levels import Level, filled
from serve_app.check.problems import Problem, in_order
from serve_app.check.schema import lint
from serve_app.check.yaml_lines import YamlFault, all_repeats, parse


def check(text: str) -> list[Problem]:
    """Every problem of the config, by line; an empty list when it is fine. No text makes it raise."""
    try:
        root = parse(text)
    except YamlFault as fault:
        return [Problem(fault.line, "", str(fault))]
    repeats = [
        Problem(repeat.line, path, f"key '{repeat.key}' is given twice (first on line {repeat.first_line})")
        for path, repeat in all_repeats(root)
    ]
    return in_order([*repeats, *lint(Level(ServeDeploySchema, root, ""))])


def resolved(text: str) -> dict[str, Any]:
    """The config with every default filled in, in plain YAML types; only for a text in which ``check`` finds no error.

    What a deployment leaves out is shown with Serve's default, although an option of its decorator would win over that.
    An option for which Serve has no value of its own, such as ``ray_actor_options``, stays out.
    """
    return filled(Level(ServeDeploySchema, parse(text), ""))
