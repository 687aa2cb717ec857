"""Strict linting of a Serve config: Ray Serve drops keys that it does not know, so that a typo passes unnoticed.

Keys, types and bounds come from Serve's own schema classes and from our settings. Nothing here starts Ray. Policies and
routers that the config names are imported, as Serve will do, to see that they are there.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ray.serve._private.utils import validate_route_prefix
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from serve_app.config_levels import EMPTY, Level, fields_of, filled, inner_levels
from serve_app.settings import KNOBS
from serve_app.yaml_lines import Yaml, YamlFault, all_repeats, join, parse

CPU_DEPLOYMENTS = ("Ingress", "Preprocessor")
GPU_MASK = ("ray_actor_options", "runtime_env", "env_vars", "CUDA_VISIBLE_DEVICES")
SECRET = re.compile(r"api_key|password|secret|credential|token\b", re.IGNORECASE)
WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: its 1-based line, its place in the config, and what is wrong."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path + ': ' if self.path else ''}{self.message}"


def check(text: str) -> list[Problem]:
    """Every problem of the config, by line; an empty list when it is fine. No text makes it raise."""
    try:
        root = parse(text)
    except YamlFault as fault:
        return [Problem(fault.line, "", str(fault))]
    repeats = {
        Problem(repeat.line, path, f"key '{repeat.key}' is given twice (first on line {repeat.first_line})")
        for path, repeat in all_repeats(root)
    }
    problems = repeats.union(_lint(Level(ServeDeploySchema, root, "")))
    return sorted(problems, key=lambda problem: (problem.line, problem.path, problem.message))


def resolved(text: str) -> dict[str, Any]:
    """The config with every default filled in, in plain YAML types; only for a text that ``check`` finds fine.

    What a deployment leaves out is shown with Serve's default, although an option of its decorator would win over that.
    An option for which Serve has no value of its own, such as ``ray_actor_options``, stays out.
    """
    return filled(Level(ServeDeploySchema, parse(text), ""))


# The walk, and unknown keys.


def _lint(level: Level) -> list[Problem]:
    """The problems of a value; what is at fault inside it is left out when the whole is judged."""
    if not isinstance(level.node.value, dict):
        return [Problem(level.node.line, level.path, f"must be a mapping, got {_shown(level.node.value, level.path)}")]
    known = {key: child for key, child in level.node.children.items() if key in fields_of(level)}
    inner = {key: [p for one in inner_levels(level, key, child) for p in _lint(one)] for key, child in known.items()}
    sound = {key: child.value for key, child in known.items() if not inner[key]}
    crossed = list(RULES[level.model](level)) if level.model in RULES else []
    return [*_unknown_keys(level), *chain(*inner.values()), *crossed, *_invalid(level, sound, bool(crossed))]


def _unknown_keys(level: Level) -> Iterator[Problem]:
    valid = list(fields_of(level))
    for key, child in level.node.children.items():
        if key not in valid:
            yield Problem(child.line, level.path, f"unknown key '{key}'{_hint(key, valid)}")


def _meant(level: Level) -> set[str]:
    """Keys that are absent because they are misspelt."""
    absent = [key for key in fields_of(level) if key not in level.node.children]
    strange = [key for key in level.node.children if key not in fields_of(level)]
    return {match for key in strange for match in _near(key, absent)}


def _near(word: Any, valid: list[str]) -> list[str]:
    return get_close_matches(str(word), valid, n=1, cutoff=0.6)


def _hint(word: Any, valid: list[str]) -> str:
    near = _near(word, valid)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (valid: {', '.join(sorted(valid))})" if len(valid) <= 12 else ""


# Values that the models refuse.


def _refusals(level: Level, values: dict[str, Any]) -> list[ErrorDetails]:
    """Pydantic's errors, and as one of them any other exception that a validator of Serve's lets escape."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            level.model.model_validate(values)
    except ValidationError as invalid:
        return invalid.errors(include_url=False)
    except Exception as fault:
        # Another application may bring its code in a runtime_env.
        foreign = isinstance(fault, ImportError) and not level.ours
        return [] if foreign else [_escaped(fault, values)]
    return []


def _escaped(fault: Exception, values: dict[str, Any]) -> ErrorDetails:
    """An import that failed, at the key that names it, or a validator that tripped over a value."""
    name = getattr(fault, "name", None) or "\n"
    keys = [key for key, value in values.items() if isinstance(value, str) and name in value]
    text = str(fault).strip() or type(fault).__name__
    message = f"cannot be imported: {text}" if isinstance(fault, ImportError) else text
    return ErrorDetails(type="escaped", loc=tuple(keys[:1]), msg=message, input=None)


def _invalid(level: Level, sound: dict[str, Any], crossed: bool) -> Iterator[Problem]:
    """Problems with values; a mapping that breaks a rule of ours is not judged by Serve as a whole again."""
    grouped: dict[tuple[str, str], tuple[Yaml, list[ErrorDetails]]] = {}
    for error in _refusals(level, {**level.implied, **sound}):
        node, path = _place(level, error)
        whole = error["type"] in ("value_error", "escaped") and isinstance(node.value, dict | list)
        if _is_echo(level, error, sound) or (whole and crossed):
            continue
        if whole:
            node, path = _named(node, path, error["msg"])
        missing = str(error["loc"][-1]) if error["type"] == "missing" else ""
        grouped.setdefault((path, missing), (node, []))[1].append(error)
    for (path, _), (node, errors) in grouped.items():
        yield Problem(node.line, path, _told(errors, node.value, path))


def _is_echo(level: Level, error: ErrorDetails, sound: dict[str, Any]) -> bool:
    """Whether it only misses a key that is misspelt, or whose value is a problem already."""
    absent = _meant(level) | {key for key in level.node.children if key not in sound}
    return not absent.isdisjoint([*error["loc"][-1:], *WORD.findall(error["msg"])])


def _place(level: Level, error: ErrorDetails) -> tuple[Yaml, str]:
    """The nearest value to pydantic's place; steps that lead nowhere are a missing key or a member of a union."""
    node, path = level.node, level.path
    for step in error["loc"]:
        if step in node.children:
            node, path = node.children[step], join(path, step)
    return node, path


def _named(node: Yaml, path: str, text: str) -> tuple[Yaml, str]:
    """The key that the text about a whole mapping names (the longest: others may be just words), else the mapping."""
    key = max((word for word in WORD.findall(text) if word in node.children), key=len, default=None)
    return (node.children[key], join(path, key)) if key else (node, path)


def _told(errors: list[ErrorDetails], value: Any, path: str) -> str:
    """The errors of one value (of each member of a union) as one text, with the value."""
    texts = list(dict.fromkeys(_plain(error) for error in errors))
    text = " or ".join([texts[0], *(other.removeprefix("must be ") for other in texts[1:])])
    shown = _shown(value, path)
    if text.startswith("must ") or (not isinstance(value, dict | list) and shown.strip("'") not in text):
        text += f", got {shown}"
    unquoted = errors[0]["type"] == "string_type" and isinstance(value, int | float)
    return text + (" (write it in quotes)" if unquoted else "")


def _plain(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return f"missing key '{error['loc'][-1]}'"
    if error["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return "must be a mapping"
    text = re.sub(r"^(Value error|Assertion failed), ", "", error["msg"]).rstrip(".")
    return re.sub(r"^\w+ should ", "must ", re.sub(r", (unable to|got a) .*", "", text))


def _shown(value: Any, path: str) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if SECRET.search(path):
        return "a value that is not shown here"
    return repr(value) if isinstance(value, str) else json.dumps(value, default=str)


# Rules across keys.


def _at(level: Level, key: str, message: str) -> Problem:
    return Problem(level.node.children[key].line, join(level.path, key), message)


def _number(level: Level, key: str) -> float | None:
    """The positive number given for ``key``, else its default; None for what is refused anyway or a misspelt key."""
    value = level.node.value.get(key, level.model.model_fields[key].default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return cast(float, value) if is_number and key not in _meant(level) else None


def _autoscaling_rules(level: Level) -> Iterator[Problem]:
    given = level.node.children
    least, most = _number(level, "min_replicas"), _number(level, "max_replicas")
    # Against a default, Serve's own check knows better: the default is another one under `num_replicas: auto`.
    if "min_replicas" in given and "max_replicas" in given and least is not None and most is not None and least > most:
        yield _at(level, "min_replicas", f"min_replicas: {least:g} is more than max_replicas: {most:g}")
    interval, period = _number(level, "metrics_interval_s"), _number(level, "look_back_period_s")
    key = next((key for key in ("metrics_interval_s", "look_back_period_s") if key in given), None)
    if key and interval is not None and period is not None and interval >= period:
        yield _at(level, key, f"metrics_interval_s: {interval:g} must be less than look_back_period_s: {period:g}")


def _deployment_rules(level: Level) -> Iterator[Problem]:
    scaling = level.node.children.get("autoscaling_config", EMPTY)
    replicas = level.node.value.get("num_replicas")
    if isinstance(replicas, int) and scaling is not EMPTY and scaling.value is not None:
        yield _at(level, "autoscaling_config", f"cannot stand beside num_replicas: {replicas}; drop one of them")
    if scaling is not EMPTY and isinstance(scaling.value, dict):
        yield from _target_rule(level, inner_levels(level, "autoscaling_config", scaling)[0])
    if level.ours:
        yield from _name_rule(level)
        yield from _mask_rule(level)


def _target_rule(level: Level, scaling: Level) -> Iterator[Problem]:
    # A limit that the file leaves out comes from the deployment's decorator, which is not known here.
    limit, target = _number(level, "max_ongoing_requests"), _number(scaling, "target_ongoing_requests")
    if limit is not None and target is not None and target > limit:
        message = f"target_ongoing_requests: {target:g} is more than max_ongoing_requests: {limit:g}"
        given = "target_ongoing_requests" in scaling.node.children
        yield _at(*((scaling, "target_ongoing_requests") if given else (level, "max_ongoing_requests")), message)


def _name_rule(level: Level) -> Iterator[Problem]:
    name = level.node.value.get("name")
    if isinstance(name, str) and name not in KNOBS:
        yield _at(level, "name", f"no deployment is named '{name}'{_hint(name, list(KNOBS))}")


def _mask_rule(level: Level) -> Iterator[Problem]:
    """``ray_actor_options`` replaces the code's as a whole, and since Ray #62492 a CPU replica sees the GPUs."""
    if level.node.value.get("name") not in CPU_DEPLOYMENTS or GPU_MASK[0] not in level.node.children:
        return
    node, path = level.node, level.path
    for key in GPU_MASK:
        if key in node.children:
            node, path = node.children[key], join(path, key)
        elif key != GPU_MASK[-1] and _near(key, [str(given) for given in node.children]):
            return  # misspelt, which is told already
    # Anything but a mapping that lacks the key, or a text other than "" under it, is refused by the models.
    if isinstance(node.value, dict) or (isinstance(node.value, str) and path.endswith(GPU_MASK[-1]) and node.value):
        yield Problem(node.line, path, f'needs {".".join(GPU_MASK[1:])}: "", else a CPU deployment sees the GPUs')


def _application_rules(level: Level) -> Iterator[Problem]:
    yield from _shared(level, "deployments", "name")
    prefix = level.node.value.get("route_prefix")
    try:  # Serve's schema takes any text here, and the deployment fails later
        validate_route_prefix(prefix if isinstance(prefix, str) else None)
    except ValueError as fault:
        yield _at(level, "route_prefix", str(fault).rstrip("."))


def _top_rules(level: Level) -> Iterator[Problem]:
    yield from _shared(level, "applications", "name")
    yield from _shared(level, "applications", "route_prefix")


def _shared(level: Level, where: str, key: str) -> Iterator[Problem]:
    """Problems where two mappings of a list have one value (or default) for a key that must tell them apart."""
    first: dict[str, int] = {}
    for one in inner_levels(level, where, level.node.children.get(where, EMPTY)):
        if not isinstance(one.node.value, dict) or key in _meant(one):
            continue
        value = one.node.value.get(key, one.model.model_fields[key].default)
        line = one.node.children.get(key, one.node).line
        if isinstance(value, str) and value in first:
            path = join(one.path, key) if key in one.node.children else one.path
            yield Problem(line, path, f"{key} '{value}' is taken already (line {first[value]})")
        elif isinstance(value, str):
            first[value] = line


RULES: dict[type[BaseModel], Callable[[Level], Iterator[Problem]]] = {
    AutoscalingConfig: _autoscaling_rules,
    DeploymentSchema: _deployment_rules,
    ServeApplicationSchema: _application_rules,
    ServeDeploySchema: _top_rules,
}
