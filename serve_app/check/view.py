"""The config as the service will see it, every default filled in, for rules that look across its sections."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel
from ray.serve.schema import DeploymentSchema

from serve_app.check.levels import EMPTY, Level, all_levels, filled, inner_levels, meant
from serve_app.check.problems import Problem
from serve_app.check.schema import unknown_keys
from serve_app.check.world import World
from serve_app.check.yaml_lines import Yaml, join
from serve_app.settings import KNOBS, AppSettings

KNOBS_KEY = "user_config"


class Unsound(Exception):
    """A rule asks for a value that is at fault itself, which is told already."""


@dataclass(frozen=True, slots=True)
class Part:
    """A mapping of the config with its defaults; keys are dotted. ``doubts`` are the paths of values at fault."""

    values: dict[str, Any]
    node: Yaml
    path: str
    doubts: frozenset[str]

    def __getitem__(self, keys: str) -> Any:
        """The value given, else the default. Raises Unsound for one at fault, or one that Serve itself leaves open."""
        full = join(self.path, keys)
        value: Any = self.values
        for key in keys.split("."):
            if self._is_doubted(full) or not isinstance(value, dict) or key not in value:
                raise Unsound(full)
            value = value[key]
        return value

    def given(self, keys: str) -> Any:
        """The value as it stands in the file; None if it does not."""
        nodes = self._nodes(keys)
        return nodes[-1].value if len(nodes) > len(keys.split(".")) else None

    def problem(self, keys: str, message: str, warning: bool = False, item: Any = None) -> Problem:
        """One at these keys, or at an item of what they hold, on the line of the deepest that the file has."""
        node = self._nodes(keys)[-1]
        line = node.children[item].line if item in node.children else node.line
        path = join(self.path, keys)
        return Problem(line, path if item is None else join(path, item), message, warning)

    def items(self, keys: str) -> Iterator[Any]:
        """The sound keys or indices of what the file gives there."""
        if self.given(keys) is not None:
            path = join(self.path, keys)
            yield from (key for key in self._nodes(keys)[-1].children if not self._is_doubted(join(path, key)))

    def _nodes(self, keys: str) -> list[Yaml]:
        """The nodes on the way to the keys, as far as the file has them."""
        found = [self.node]
        for key in keys.split("."):
            if key not in found[-1].children:
                break
            found.append(found[-1].children[key])
        return found

    def _is_doubted(self, path: str) -> bool:
        return any(_within(path, doubt) or _within(doubt, path) for doubt in self.doubts)


@dataclass(frozen=True, slots=True)
class App:
    """One application of ours: the whole config, its own mapping, its args, its deployments, and the machine."""

    top: Part
    application: Part
    args: Part
    ingress: Part
    preprocessor: Part
    model: Part
    world: World

    @property
    def deployments(self) -> dict[str, Part]:
        return {"Ingress": self.ingress, "Preprocessor": self.preprocessor, "Model": self.model}


def contradiction(places: list[tuple[Part, str]], message: str, warning: bool = True) -> Iterator[Problem]:
    """A problem at the first of the places that the file gives; none if all of them are defaults."""
    for part, keys in places:
        if part.given(keys) is not None:
            yield part.problem(keys, message, warning)
            return


def apps(root: Level, problems: list[Problem], world: World) -> Iterator[App]:
    """The applications of ours in a config. What has a problem is a doubt, and counts as not given."""
    levels = list(all_levels(root))
    unknown = {problem for level in levels for problem in unknown_keys(level)}
    misspelt = {join(level.path, key) for level in levels for key in meant(level)}
    doubts = frozenset(misspelt | {one.path for one in problems if not one.warning and one not in unknown})
    pruned = replace(root, node=_without(root.node, root.path, doubts))
    if "" in doubts or not isinstance(pruned.node.value, dict):
        return
    top = _part(pruned, doubts)
    for level in inner_levels(pruned, "applications", pruned.node.children.get("applications", EMPTY)):
        if level.ours and isinstance(level.node.value, dict):
            yield _app(top, level, doubts, world)


def _app(top: Part, level: Level, doubts: frozenset[str], world: World) -> App:
    application = _part(level, doubts)
    args = _inner(level, "args", AppSettings, doubts)
    listed = inner_levels(level, "deployments", level.node.children.get("deployments", EMPTY))
    by_name = {str(one.node.value.get("name")): one for one in listed if isinstance(one.node.value, dict)}
    ingress, preprocessor, model = (_deployment(by_name.get(name), name, level, doubts) for name in KNOBS)
    return App(top, application, args, ingress, preprocessor, model, world)


def _deployment(listed: Level | None, name: str, application: Level, doubts: frozenset[str]) -> Part:
    """The deployment of that name; one that the file leaves out has Serve's and our defaults."""
    absent = Level(DeploymentSchema, Yaml(application.node.line, {"name": name}), application.path, ours=True)
    level = listed or absent
    part = _part(level, doubts)
    knobs = part.values.get(KNOBS_KEY) or filled(Level(KNOBS[name], EMPTY, ""))
    return replace(part, values={**part.values, KNOBS_KEY: knobs})


def _inner(level: Level, key: str, model: type[BaseModel], doubts: frozenset[str]) -> Part:
    node = level.node.children.get(key, Yaml(level.node.line, {}))
    return _part(Level(model, node, join(level.path, key)), doubts)


def _part(level: Level, doubts: frozenset[str]) -> Part:
    return Part(filled(level), level.node, level.path, doubts)


def _without(node: Yaml, path: str, doubts: frozenset[str]) -> Yaml:
    """The tree without the values at fault."""
    inner = {step: (child, join(path, step)) for step, child in node.children.items()}
    children = {step: _without(child, at, doubts) for step, (child, at) in inner.items() if at not in doubts}
    if not node.children:
        return node
    values = [child.value for child in children.values()]
    value = values if isinstance(node.value, list) else dict(zip(children, values, strict=True))
    return replace(node, value=value, children=children)


def _within(path: str, outer: str) -> bool:
    """Whether the path is the outer one or leads into its value."""
    return path == outer or path.startswith((f"{outer}.", f"{outer}[")) or outer == ""
