"""``${NAME}`` in the section becomes what the environment holds, once, where the bot runs; and is then checked.

A fault names the field and the variable, never the value.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from deployments.wecom.settings import VARIABLE, WecomSettings


class SecretsMissing(ValueError):
    """The section cannot be served with this environment; says which fields, and why."""


def with_secrets(settings: WecomSettings, environment: Mapping[str, str]) -> WecomSettings:
    """The settings with every variable replaced. Raises SecretsMissing."""
    unset = unset_variables(settings, environment)
    if unset:
        raise SecretsMissing("; ".join(f"args.wecom.{path}: ${{{name}}} is not set" for path, name in unset))
    try:
        return WecomSettings.model_validate(_expanded(plain_values(settings), environment))
    except ValidationError as fault:
        faults = [f"args.wecom.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors()]
        raise SecretsMissing("; ".join(faults)) from None


def unset_variables(settings: WecomSettings, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Where the section names a variable that is not set, or empty: path and variable."""
    places = [(path, name) for path, text in texts_of(plain_values(settings)) for name in VARIABLE.findall(text)]
    return [(path, name) for path, name in places if not environment.get(name, "").strip()]


def texts_of(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Every text in nested mappings and lists, with its dotted path."""
    if isinstance(value, str):
        return [(path, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [found for key, inner in items for found in texts_of(inner, f"{path}.{key}" if path else str(key))]


def plain_values(value: Any) -> Any:
    """The settings as given, in plain types, secrets in clear: not for any log."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: plain_values(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {key: plain_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(inner) for inner in value]
    return value


def _expanded(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: environment[found[1]].strip(), value)
    if isinstance(value, dict):
        return {key: _expanded(inner, environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, environment) for inner in value]
    return value


def redacted(text: str) -> str:
    """The text without robots' keys, tokens and response codes, for logs."""
    return re.sub(r"((?:key|access_token|response_code|corpsecret|sign)=)[^&\s\"']+", r"\1…", text)
