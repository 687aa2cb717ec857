"""What may stand at each level of a Serve config, by Serve's own schema classes and our settings, and its defaults."""

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python
from ray.runtime_env import RuntimeEnv, RuntimeEnvConfig
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.utils import DEFAULT
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema

from serve_app.check.problems import Problem, near
from serve_app.check.yaml_lines import Yaml, join
from serve_app.settings import AppSettings, knobs_of

OURS = "serve_app.graph:build"
OUR_PACKAGES = ("serve_app", "deployments")
SCALARS = (str, int, float, bool, types.NoneType)
EMPTY = Yaml(0, {})


def _keys_model(name: str, keys: set[str], **typed: Any) -> type[BaseModel]:
    """A model for keys that Ray keeps as a bare set; those that start with an underscore are not for users."""
    fields = {key: (typed.get(key, Any), DEFAULT.VALUE) for key in keys if not key.startswith("_")}
    return cast(type[BaseModel], create_model(name, **cast(Any, fields)))


RUNTIME_ENV = _keys_model(
    "RuntimeEnvKeys",
    RuntimeEnv.known_fields,
    config=_keys_model("RuntimeEnvConfigKeys", RuntimeEnvConfig.known_fields),
    env_vars=dict[str, str],
    py_modules=list[str] | None,
    working_dir=str | None,
)


@dataclass(frozen=True, slots=True)
class Level:
    """A value of the config that must be a mapping fit for ``model``; ``implied`` is what Serve itself adds to it."""

    model: type[BaseModel]
    node: Yaml
    path: str
    ours: bool = False
    implied: dict[str, Any] = field(default_factory=dict)


def fields_of(level: Level) -> dict[str, FieldInfo]:
    """The keys that may stand in the mapping."""
    # Left from files of a single application; Serve refuses both in a list of applications.
    refused = ("host", "port") if level.model is ServeApplicationSchema else ()
    return {info.alias or name: info for name, info in level.model.model_fields.items() if name not in refused}


def meant(level: Level) -> set[str]:
    """Keys that are absent because they are misspelt."""
    absent = [key for key in fields_of(level) if key not in level.node.children]
    strange = [key for key in level.node.children if key not in fields_of(level)]
    return {match for key in strange for match in near(key, absent)}


def _annotation(level: Level, key: str) -> Any:
    """The type of ``key``: Serve's, but the model where Serve says ``dict`` and a model is known."""
    if key == "runtime_env":
        return RUNTIME_ENV | None
    if (level.model, key) == (ServeApplicationSchema, "autoscaling_policy"):
        return AutoscalingPolicy | None
    if (level.model, key, level.ours) == (ServeApplicationSchema, "args", True):
        return AppSettings
    if (level.model, key, level.ours) == (DeploymentSchema, "user_config", True):
        knobs = knobs_of(str(level.node.value.get("name")))
        return knobs | None if knobs else Any
    return fields_of(level)[key].annotation


def inner_levels(level: Level, key: str, child: Yaml) -> list[Level]:
    """What has a model of its own in the value of ``key``: nothing, the value itself, or the items of the list."""
    # Under whichever key: a misspelt `num_replicas` is one problem, not also a broken bound of the autoscaling.
    auto = key == "autoscaling_config" and "auto" in level.node.value.values()
    implied = AutoscalingConfig.default().model_dump(exclude_unset=True) if auto else {}
    return [
        Level(model, node, path, level.ours or _is_ours(model, node), implied)
        for model, node, path in _modelled(_annotation(level, key), child, join(level.path, key))
    ]


def _modelled(annotation: Any, node: Yaml, path: str) -> Iterator[tuple[type[BaseModel], Yaml, str]]:
    """The models in an annotation, each with the value that must fit it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if _is_model(annotation):
        yield annotation, node, path
    elif origin is list and isinstance(node.value, list):
        for index, item in node.children.items():
            yield from _modelled(parts[0], item, join(path, index))
    elif _is_by_name(annotation) and isinstance(node.value, dict):
        for name, item in node.children.items():
            yield from _modelled(parts[1], item, join(path, name))
    elif origin in (Union, types.UnionType, Annotated) and not _is_scalar_of(parts, node):
        for part in parts:
            yield from _modelled(part, node, path)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_by_name(annotation: Any) -> bool:
    """Whether it is a mapping from names to models."""
    return get_origin(annotation) is dict and any(map(_is_model, get_args(annotation)))


def _is_scalar_of(parts: tuple[Any, ...], node: Yaml) -> bool:
    return isinstance(node.value, tuple(part for part in parts if part in SCALARS))


def _is_ours(model: type[BaseModel], node: Yaml) -> bool:
    """Also under an ``import_path`` that is misspelt, so that the other problems are found too."""
    path = node.value.get("import_path") if isinstance(node.value, dict) else None
    if model is not ServeApplicationSchema or not isinstance(path, str):
        return False
    return re.split("[.:]", path)[0] in OUR_PACKAGES or bool(near(path, [OURS], likeness=0.85))


def all_levels(level: Level) -> Iterator[Level]:
    """The level and those inside it that are mappings, as they must be."""
    if not isinstance(level.node.value, dict):
        return
    yield level
    for key, child in level.node.children.items():
        for inner in inner_levels(level, key, child) if key in fields_of(level) else ():
            yield from all_levels(inner)


def problem_at(level: Level, key: Any, message: str, warning: bool = False) -> Problem:
    """A problem with the value of a key that the mapping has."""
    return Problem(level.node.children[key].line, join(level.path, key), message, warning)


def filled(level: Level) -> dict[str, Any]:
    """The mapping with every default, in the order of its model's keys."""
    given = level.node.children
    values = {
        key: _given(level, key, given[key]) if key in given else _default(level, key, info)
        for key, info in fields_of(level).items()
    }
    return {key: value for key, value in values.items() if value is not DEFAULT.VALUE}


def _given(level: Level, key: str, child: Yaml) -> Any:
    inner = [filled(one) for one in inner_levels(level, key, child)]
    if not inner:
        return _as_read(level, key, child.value)
    if isinstance(child.value, dict) and _is_by_name(_annotation(level, key)):
        return dict(zip(child.children, inner, strict=True))
    return inner if isinstance(child.value, list) else inner[0]


def _as_read(level: Level, key: str, value: Any) -> Any:
    """The value as the model reads it: a number in quotes is one, actions are laid over the default ones."""
    if value is None or (isinstance(value, dict | list) and not level.model.__module__.startswith(OUR_PACKAGES)):
        return value
    try:
        reader = _reader(level.model, key)
        return to_jsonable_python(reader.validate_python(value)) if reader else value
    except ValidationError:
        return value


@cache
def _reader(model: type[BaseModel], key: str) -> TypeAdapter[Any] | None:
    """What reads a value of the key; None for a class of Ray's that pydantic knows nothing of."""
    info = next(info for name, info in model.model_fields.items() if (info.alias or name) == key)
    annotated: Any = Annotated[(info.annotation, *info.metadata, key)]
    try:
        return TypeAdapter(annotated)
    except PydanticUserError:
        return None


def _default(level: Level, key: str, info: FieldInfo) -> Any:
    """Serve's or our value for an absent key; ``DEFAULT.VALUE``, Serve's own mark, if there is none to show."""
    if key in level.implied:
        return level.implied[key]
    for one in inner_levels(level, key, EMPTY):
        if one.implied or key in ("args", "user_config"):
            return filled(one)
    value = info.get_default(call_default_factory=True)
    if level.model is DeploymentSchema:
        scaled = key == "num_replicas" and level.node.value.get("autoscaling_config") is not None
        value = DEFAULT.VALUE if scaled else _serve_default(key)
    if value is PydanticUndefined:  # required, and at fault
        return DEFAULT.VALUE
    return value if value is DEFAULT.VALUE else to_jsonable_python(value)


@cache
def _serve_default(key: str) -> Any:
    """Of a deployment; cached, because some of them pickle classes."""
    twin = DeploymentConfig.model_fields.get(key)
    value = twin.get_default(call_default_factory=True) if twin else None
    return DEFAULT.VALUE if value is None else value
