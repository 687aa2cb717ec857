"""Strict linting of a Serve config: Ray Serve drops keys that it does not know, so that a typo passes unnoticed.

First every key, type and bound, level by level, from Serve's own schema classes and from our settings; then, for each
application of ours, what one section says against another. Nothing here starts Ray. Policies and routers that the
config names are imported, as Serve will do, to see that they are there.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ray.serve.schema import ServeDeploySchema

from serve_app.check import deadlines, doors, downloads, loads, paths, safety_rules, sizes, variables, wecom_rules
from serve_app.check.levels import Level, filled
from serve_app.check.problems import Problem, in_order
from serve_app.check.schema import lint
from serve_app.check.view import App, Unsound, apps
from serve_app.check.world import ThisMachine, World
from serve_app.check.yaml_lines import YamlFault, all_repeats, parse

RULES = (
    *safety_rules.RULES,
    *sizes.RULES,
    *loads.RULES,
    *deadlines.RULES,
    *doors.RULES,
    *variables.RULES,
    *downloads.RULES,
    *paths.RULES,
    *wecom_rules.RULES,
)


def check(text: str, world: World | None = None) -> list[Problem]:
    """Every problem of the config, by line; an empty list when it is fine. No text makes it raise.

    ``world`` is the machine whose files, variables and packages the config is held against; by default this one.
    """
    try:
        root = parse(text)
    except YamlFault as fault:
        return [Problem(fault.line, "", str(fault))]
    repeats = [
        Problem(repeat.line, path, f"key '{repeat.key}' is given twice (first on line {repeat.first_line})")
        for path, repeat in all_repeats(root)
    ]
    level = Level(ServeDeploySchema, root, "")
    found = lint(level)
    crossed = [
        problem for app in apps(level, found, world or ThisMachine()) for rule in RULES for problem in _told(rule, app)
    ]
    return in_order([*repeats, *found, *crossed])


def _told(rule: Callable[[App], Iterator[Problem]], app: App) -> Iterator[Problem]:
    """What the rule says until it needs a value that is at fault itself."""
    try:
        yield from rule(app)
    except Unsound:
        return


def resolved(text: str) -> dict[str, Any]:
    """The config with every default filled in, in plain YAML types; only for a text in which ``check`` finds no error.

    What a deployment leaves out is shown with Serve's default, although an option of its decorator would win over that.
    An option for which Serve has no value of its own, such as ``ray_actor_options``, stays out.
    """
    return filled(Level(ServeDeploySchema, parse(text), ""))
