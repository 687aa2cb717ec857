"""Every key of a config is known to Serve's schema classes or to our settings, and every value fits them."""

import re
import warnings
from collections.abc import Iterator
from itertools import chain
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from serve_app.check.level_rules import RULES
from serve_app.check.levels import Level, fields_of, inner_levels, meant
from serve_app.check.problems import Problem, hint, shown
from serve_app.check.yaml_lines import Yaml, join

WORD = re.compile(r"\w+")


def lint(level: Level) -> list[Problem]:
    """The problems of a value; what is at fault inside it is left out when the whole is judged."""
    if not isinstance(level.node.value, dict):
        return [Problem(level.node.line, level.path, f"must be a mapping, got {shown(level.node.value, level.path)}")]
    known = {key: child for key, child in level.node.children.items() if key in fields_of(level)}
    inner = {key: [p for one in inner_levels(level, key, child) for p in lint(one)] for key, child in known.items()}
    sound = {key: child.value for key, child in known.items() if all(problem.warning for problem in inner[key])}
    crossed = list(RULES[level.model](level)) if level.model in RULES else []
    broken = any(not problem.warning for problem in crossed)
    return [*unknown_keys(level), *chain(*inner.values()), *crossed, *_invalid(level, sound, broken)]


def unknown_keys(level: Level) -> Iterator[Problem]:
    valid = list(fields_of(level))
    for key, child in level.node.children.items():
        if key not in valid:
            yield Problem(child.line, level.path, f"unknown key '{key}'{hint(key, valid)}")


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
    errors = _refusals(level, {**level.implied, **sound})
    places = [error["loc"] for error in errors]
    for error in errors:
        node, path = _place(level, error)
        whole = error["type"] in ("value_error", "escaped") and isinstance(node.value, dict | list)
        inside = any(place != error["loc"] and place[: len(error["loc"])] == error["loc"] for place in places)
        short = error["type"] == "too_short" and inside  # as its items are at fault
        if _is_echo(level, error, sound) or (whole and crossed) or short:
            continue
        if whole:
            node, path = _named(node, path, error["msg"])
        missing = str(error["loc"][-1]) if error["type"] == "missing" else ""
        grouped.setdefault((path, missing), (node, []))[1].append(error)
    for (path, _), (node, errors) in grouped.items():
        yield Problem(node.line, path, _told(errors, node.value, path))


def _is_echo(level: Level, error: ErrorDetails, sound: dict[str, Any]) -> bool:
    """Whether it only misses a key that is misspelt, or whose value is a problem already."""
    absent = meant(level) | {key for key in level.node.children if key not in sound}
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
    got = shown(value, path)
    if text.startswith("must ") or (not isinstance(value, dict | list) and got.strip("'") not in text):
        text += f", got {got}"
    unquoted = errors[0]["type"] == "string_type" and isinstance(value, int | float)
    return text + (" (write it in quotes)" if unquoted else "")


def _plain(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return f"missing key '{error['loc'][-1]}'"
    if error["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return "must be a mapping"
    text = re.sub(r"^(Value error|Assertion failed), ", "", error["msg"]).rstrip(".")
    return re.sub(r"^\w+ should ", "must ", re.sub(r", (unable to|got a) .*", "", text))
