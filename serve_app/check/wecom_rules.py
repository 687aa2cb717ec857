"""``args.wecom`` and ``args.store``: secrets in the file, variables that are not set, packages, public names."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from deployments.wecom.secrets import SecretsMissing, unset_variables, with_secrets
from deployments.wecom.settings import VARIABLE, WecomSettings
from serve_app.check.problems import SECRET, Problem
from serve_app.check.variables import STORE_URL, environment_of, password_of
from serve_app.check.view import App

PACKAGES = {"sqlalchemy": "SQLAlchemy", "alembic": "alembic", "cryptography": "cryptography"} | {
    "defusedxml": "defusedxml",
    "websockets": "websockets",
}


def secret_rules(app: App) -> Iterator[Problem]:
    """Secrets that stand in the file, and variables that are not set where this is checked."""
    given = app.args.given("wecom")
    settings = _settings(given)
    if settings is None:
        return
    for path in [] if _is_simulated(settings) else _secrets(given, ""):
        text = "stands in the file and in Serve's dashboard: write ${NAME}, and set NAME where it runs"
        yield app.args.problem(f"wecom.{path}", text, warning=True)
    environment = environment_of(app)
    unset = unset_variables(settings, environment)
    for path, name in unset:
        text = f"${{{name}}} is not set here: where it is unset too, no replica starts"
        yield app.args.problem(f"wecom.{path}", text, warning=True)
    if not unset:
        yield from _faults_of_values(app, settings, environment)


def _faults_of_values(app: App, settings: WecomSettings, environment: dict[str, str]) -> Iterator[Problem]:
    """What the environment holds is judged too: a key pasted with a blank is found before the start."""
    try:
        with_secrets(settings, environment)
    except SecretsMissing as fault:
        for one in str(fault).split("; args.wecom."):
            path, _, why = one.removeprefix("args.wecom.").partition(": ")
            yield app.args.problem(f"wecom.{path}", f"as the environment has it: {why}")


def package_rules(app: App) -> Iterator[Problem]:
    if app.args.given("wecom") is None:
        return
    lacking = [name for module, name in PACKAGES.items() if not app.world.has_package(module)]
    if lacking:
        text = f"needs {', '.join(lacking)}, not installed here: pip install '.[wecom]'"
        yield app.args.problem("wecom", text)
    if app.args[STORE_URL].startswith("postgres") and not app.world.has_package("psycopg"):
        yield app.args.problem(STORE_URL, "needs the package psycopg, not installed here: pip install '.[postgres]'")


def store_rules(app: App) -> Iterator[Problem]:
    """A file is one machine's; a password belongs into the environment."""
    url = app.args[STORE_URL]
    password = password_of(url)
    if password and "$" not in password:
        text = "its password stands in the file and in Serve's dashboard: write ${NAME}, and set NAME where it runs"
        yield app.args.problem(STORE_URL, text, warning=True)


def callback_rules(app: App) -> Iterator[Problem]:
    """WeCom calls by name: a browser's guard against foreign names must let it in."""
    given = app.args.given("wecom")
    settings = _settings(given)
    receives = settings is not None and not _is_simulated(settings) and bool(settings.apps or settings.bots)
    if receives and not app.ingress["user_config.allowed_hosts"] and not app.ingress["user_config.api_key_sha256"]:
        text = "WeCom calls this service by its public name: put that name into the Ingress's allowed_hosts"
        yield app.args.problem("wecom", text, warning=True)


def _settings(given: Any) -> WecomSettings | None:
    """The section as its model reads it; None where there is none, or its faults are told already."""
    try:
        return WecomSettings.model_validate(given) if isinstance(given, dict) else None
    except ValidationError:
        return None


def _is_simulated(settings: WecomSettings) -> bool:
    """Whether its WeCom is the simulator on this machine, whose keys open nothing."""
    return settings.endpoints.qyapi.startswith("http://")


def _secrets(value: Any, path: str) -> Iterator[str]:
    """Where a secret stands in clear."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, str) and not VARIABLE.search(value) and _is_secret(path):
        yield path


def _is_secret(path: str) -> bool:
    return bool(re.search(r"\.url$", path) if path.startswith("robots.") else SECRET.search(path.rpartition(".")[2]))


RULES = (secret_rules, package_rules, store_rules, callback_rules)
