"""Strict linting of a Serve config: Ray Serve drops keys that it does not know, so that a typo passes unnoticed.

Keys, types and bounds come from Serve's own schema classes and from our settings. Nothing here starts Ray. Policies and
routers that the config names are imported, as Serve will do, to see that they are there.
"""

import re
import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python
from ray.runtime_env import RuntimeEnv, RuntimeEnvConfig
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.utils import DEFAULT
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from serve_app.settings import KNOBS, AppSettings
from serve_app.yaml_lines import Yaml, YamlFault, parse

OURS = "serve_app.graph:build"
CPU_DEPLOYMENTS = ("Ingress", "Preprocessor")
GPU_MASK = ("ray_actor_options", "runtime_env", "env_vars", "CUDA_VISIBLE_DEVICES")
SECRET = re.compile("api_key|password|secret|credential")
SCALARS = (str, int, float, bool, types.NoneType)
EMPTY = Yaml(0, {})


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: the 1-based line, the place in the config, what is wrong with it."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path + ': ' if self.path else ''}{self.message}"


def check(text: str) -> list[Problem]:
    """Every problem of the config, by line; an empty list when it is fine. Raises on no text."""
    try:
        root = parse(text)
    except YamlFault as fault:
        return [Problem(fault.line, "", str(fault))]
    problems = {*_repeats(root, ""), *_lint(Level(ServeDeploySchema, root, ""))}
    return sorted(problems, key=lambda problem: (problem.line, problem.path, problem.message))


def resolved(text: str) -> dict[str, Any]:
    """The config with every default filled in, in plain YAML types; only for a text that ``check`` finds fine.

    What a deployment leaves out is shown with Serve's default, although an option in its decorator would win over that;
    options without a default of Serve's, such as ``ray_actor_options``, stay out.
    """
    return _filled(Level(ServeDeploySchema, parse(text), ""))


# What may stand where


def _keys_of(name: str, keys: set[str], **typed: Any) -> type[BaseModel]:
    """A model for keys that Ray keeps as a bare set; those starting with an underscore are Ray's own."""
    fields = {key: (typed.get(key, Any), DEFAULT.VALUE) for key in keys if not key.startswith("_")}
    return cast(type[BaseModel], create_model(name, **cast(Any, fields)))


RUNTIME_ENV = _keys_of(
    "RuntimeEnvKeys",
    RuntimeEnv.known_fields,
    env_vars=dict[str, str],
    config=_keys_of("RuntimeEnvConfigKeys", RuntimeEnvConfig.known_fields),
)


@dataclass(frozen=True, slots=True)
class Level:
    """One mapping of the config and the model that it must fit; ``implied`` is what Serve adds before it reads it."""

    model: type[BaseModel]
    node: Yaml
    path: str
    ours: bool = False
    implied: dict[str, Any] = field(default_factory=dict)


def _fields(level: Level) -> dict[str, FieldInfo]:
    fields = {info.alias or name: info for name, info in level.model.model_fields.items()}
    if level.model is ServeApplicationSchema:  # left from single-application files; Serve refuses both here
        del fields["host"], fields["port"]
    return fields


def _annotation(level: Level, key: str) -> Any:
    """The type of ``key``: Serve's, but where that is a bare dict whose model is known, the model."""
    if key == "runtime_env":
        return RUNTIME_ENV
    if (level.model, key) == (ServeApplicationSchema, "autoscaling_policy"):
        return AutoscalingPolicy | None
    if (level.model, key, level.ours) == (ServeApplicationSchema, "args", True):
        return AppSettings
    if (level.model, key, level.ours) == (DeploymentSchema, "user_config", True):
        knobs = KNOBS.get(str(level.node.value.get("name")))
        return knobs | None if knobs else Any
    return _fields(level)[key].annotation


def _inner(level: Level, key: str, child: Yaml) -> list[Level]:
    """The mappings with a model of their own in the value of ``key``: none, itself, or those of a list."""
    implied = _auto() if key == "autoscaling_config" and level.node.value.get("num_replicas") == "auto" else {}
    return [
        Level(model, node, path, level.ours or _is_ours(model, node), implied)
        for model, node, path in _modelled(_annotation(level, key), child, _join(level.path, key))
    ]


def _modelled(annotation: Any, node: Yaml, path: str) -> Iterator[tuple[type[BaseModel], Yaml, str]]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, node, path
    elif origin in (list, tuple) and isinstance(node.value, list):
        for index, item in node.children.items():
            yield from _modelled(parts[0], item, _join(path, index))
    elif origin in (Union, types.UnionType, Annotated):
        if not isinstance(node.value, tuple(part for part in parts if part in SCALARS)):
            for part in parts:
                yield from _modelled(part, node, path)


def _is_ours(model: type[BaseModel], node: Yaml) -> bool:
    return model is ServeApplicationSchema and isinstance(node.value, dict) and node.value.get("import_path") == OURS


def _auto() -> dict[str, Any]:
    """What ``num_replicas: auto`` puts under ``autoscaling_config``."""
    return cast(dict[str, Any], AutoscalingConfig.default().model_dump(exclude_unset=True))


def _join(path: str, step: Any) -> str:
    if isinstance(step, int) and not isinstance(step, bool):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else str(step)


# Finding problems


def _repeats(node: Yaml, path: str) -> Iterator[Problem]:
    for repeat in node.repeats:
        yield Problem(repeat.line, path, f"key '{repeat.key}' is given twice (first on line {repeat.first_line})")
    for step, child in node.children.items():
        yield from _repeats(child, _join(path, step))


def _lint(level: Level) -> list[Problem]:
    """The problems of a mapping: inner mappings first, and what is wrong there is not judged again here."""
    if not isinstance(level.node.value, dict):
        return [Problem(level.node.line, level.path, f"must be a mapping, got {_shown(level.node.value, level.path)}")]
    known = {key: child for key, child in level.node.children.items() if key in _fields(level)}
    inner = {key: [p for one in _inner(level, key, child) for p in _lint(one)] for key, child in known.items()}
    sound = {key: child.value for key, child in known.items() if not inner[key]}
    crossed = list(RULES[level.model](level)) if level.model in RULES else []
    found = [problem for problems in inner.values() for problem in problems]
    return [*_unknown_keys(level), *found, *crossed, *_invalid(level, sound, bool(crossed))]


def _unknown_keys(level: Level) -> Iterator[Problem]:
    valid = list(_fields(level))
    for key, child in level.node.children.items():
        if key not in valid:
            yield Problem(child.line, level.path, f"unknown key '{key}'{_hint(key, valid)}")


def _meant(level: Level) -> set[str]:
    """Keys that are absent because they are misspelt: Serve's complaint about their absence would be an echo."""
    absent = [key for key in _fields(level) if key not in level.node.children]
    strange = [key for key in level.node.children if key not in _fields(level)]
    return {match for key in strange for match in _near(key, absent)}


def _near(word: Any, valid: list[str]) -> list[str]:
    return get_close_matches(str(word), valid, n=1, cutoff=0.6)


def _hint(word: Any, valid: list[str]) -> str:
    near = _near(word, valid)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (valid: {', '.join(sorted(valid))})" if len(valid) <= 12 else ""


# What the models themselves object to


@dataclass(frozen=True, slots=True)
class Objection:
    """One of pydantic's errors; ``place`` is its ``loc``."""

    place: tuple[int | str, ...]
    kind: str
    text: str


def _objections(level: Level, values: dict[str, Any]) -> list[Objection]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            level.model.model_validate(values)
    except ValidationError as invalid:
        return [Objection(error["loc"], error["type"], error["msg"]) for error in invalid.errors(include_url=False)]
    except ImportError as missing:
        # Another application may bring its code in a runtime_env.
        return [Objection((), "import", f"cannot be imported: {missing}")] if level.ours else []
    except Exception as fault:  # a validator of Serve's tripped over a value that it did not expect
        return [Objection((), "fault", str(fault).strip())]
    return []


def _invalid(level: Level, sound: dict[str, Any], crossed: bool) -> Iterator[Problem]:
    """Problems with values; for a mapping that breaks a rule of ours, not what Serve says of it as a whole."""
    texts: dict[tuple[int, str], list[Objection]] = defaultdict(list)
    values: dict[tuple[int, str], Any] = {}
    for objection in _objections(level, {**level.implied, **sound}):
        node, path = _blamed(level, objection)
        whole = isinstance(node.value, dict | list) and objection.kind in ("value_error", "fault")
        if not (_is_echo(level, objection, sound) or (whole and crossed)):
            texts[node.line, path].append(objection)
            values[node.line, path] = node.value
    for (line, path), objections in texts.items():
        yield Problem(line, path, _told(objections, values[line, path], path))


def _is_echo(level: Level, objection: Objection, sound: dict[str, Any]) -> bool:
    """Whether it only says that a key is missing which is misspelt, or whose value is a problem already."""
    absent = _meant(level) | {key for key in level.node.children if key not in sound}
    named = {objection.place[-1]} if objection.place else set()
    return bool(absent & {*named, *re.findall(r"\w+", objection.text)})


def _blamed(level: Level, objection: Objection) -> tuple[Yaml, str]:
    """The value that an objection is about: at its place, else the key that it names, else the nearest mapping."""
    node, path = level.node, level.path
    for step in objection.place:  # steps that lead nowhere name a member of a union
        if step in node.children:
            node, path = node.children[step], _join(path, step)
    words = [] if objection.kind == "missing" else re.findall(r"\w+", objection.text)
    key = next((word for word in words if isinstance(node.value, dict) and word in node.children), None)
    return (node.children[key], _join(path, key)) if key else (node, path)


def _told(objections: list[Objection], value: Any, path: str) -> str:
    """Pydantic's texts in plain words, those of a union's members joined, with the value given."""
    texts = list(dict.fromkeys(_plain(objection) for objection in objections))
    text = " or ".join([texts[0], *(other.removeprefix("must be ") for other in texts[1:])])
    shown = _shown(value, path)
    if text.startswith("must ") or (not isinstance(value, dict | list) and shown.strip("'") not in text):
        text += f", got {shown}"
    unquoted = objections[0].kind == "string_type" and isinstance(value, int | float)
    return text + (" (write it in quotes)" if unquoted else "")


def _plain(objection: Objection) -> str:
    if objection.kind == "missing":
        return f"missing key '{objection.place[-1]}'"
    if objection.kind in ("dict_type", "model_type", "model_attributes_type"):
        return "must be a mapping"
    text = re.sub(r"^(Value error|Assertion failed), ", "", objection.text)
    return re.sub(r"^\w+ should ", "must ", re.sub(r", (unable to|got a) .*", "", text))


def _shown(value: Any, path: str) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f"a text of {len(value)} characters" if SECRET.search(path) else repr(value)
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if value in (None, True, False)
        else str(value)
    )
