"""The cache's URL, and variables of the environment, which it alone takes."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from serve_app.check.problems import Problem
from serve_app.check.view import App
from serve_app.check.yaml_lines import Yaml, join

CACHE_URL = "ingress.cache.url"
STORE_URL = "store.url"
TAKERS = f"args.{CACHE_URL}, args.{STORE_URL} and args.wecom"
VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)
TEXTS = ("system_prompt", "holding_text", "phrases")
"""Keys under which a text may speak of variables."""


def cache_rules(app: App) -> Iterator[Problem]:
    url = app.args[CACHE_URL]
    if url is None:
        return
    if not app.world.has_package("redis"):
        yield app.args.problem(CACHE_URL, "needs the package redis, which is not installed: pip install '.[redis]'")
    environment = environment_of(app)
    unset = [name for name in _variables(url) if name not in environment]
    yield from _variable_faults(app, url, unset)
    if not (unset and url.startswith("$")):
        yield from _url_faults(app, _expanded(url, environment))
    if password_of(url) and "$" not in password_of(url):
        text = "its password stands in the file and in Serve's dashboard: write ${NAME}, and set NAME where it runs"
        yield app.args.problem(CACHE_URL, text, warning=True)


def _variable_faults(app: App, url: str, unset: list[str]) -> Iterator[Problem]:
    for name in unset:
        if re.fullmatch(r"\w+", name):
            text = f"${{{name}}} is not set here: where it is unset too, it stays as it is and no answer is kept"
            yield app.args.problem(CACHE_URL, text, warning=True)
        else:
            yield app.args.problem(CACHE_URL, f"${{{name}}} names no variable: it would stay as it is")
    if "${" in VARIABLE.sub("", url):
        yield app.args.problem(CACHE_URL, "${ is not closed: it would stay as it is")


def _url_faults(app: App, url: str) -> Iterator[Problem]:
    try:
        parts = urlsplit(url)
        port, database = parts.port, parts.path.strip("/")
    except ValueError as fault:
        port, database = None, ""
        yield app.args.problem(CACHE_URL, f"cannot be read: {str(fault).partition(':')[0]}")
    else:
        if parts.scheme not in ("redis", "rediss", "unix"):
            yield app.args.problem(CACHE_URL, "must start with redis://, rediss:// or unix://")
        elif parts.scheme != "unix" and not parts.hostname:
            yield app.args.problem(CACHE_URL, "names no host: write redis://host:6379/0")
        elif parts.scheme != "unix" and database and not database.isdigit():
            yield app.args.problem(CACHE_URL, f"ends with a database's number, not with '{database}'")
        elif port == 0:
            yield app.args.problem(CACHE_URL, "port 0 is none")


def password_of(url: str) -> str:
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    return credentials.partition(":")[2] if at else ""


def _variables(text: str) -> list[str]:
    return [plain or braced for plain, braced in VARIABLE.findall(text)]


def environment_of(app: App) -> dict[str, str]:
    """What an ingress replica finds set, as far as it is known here."""
    environments = [part.values.get(key) for part, key in ((app.application, "runtime_env"),)]
    environments.append((app.ingress.values.get("ray_actor_options") or {}).get("runtime_env"))
    given = [(env or {}).get("env_vars") or {} for env in environments if isinstance(env, dict)]
    return dict(app.world.environment) | {
        name: value for one in given if isinstance(one, dict) for name, value in one.items()
    }


def _expanded(text: str, environment: dict[str, str]) -> str:
    """As ``os.path.expandvars``, but a variable that is not set is taken for one letter, not for its own name."""
    return VARIABLE.sub(lambda match: environment.get(match[1] or match[2], "1"), text)


def literal_rules(app: App) -> Iterator[Problem]:
    """``${NAME}`` where nothing expands it."""
    places = [(app.top, "http_options"), (app.args, "")]
    places += [(part, "user_config") for part in app.deployments.values()]
    for part, key in places:
        node = part.node.children.get(key) if key else part.node
        for path, text in _texts(node, join(part.path, key) if key else part.path) if node is not None else ():
            if re.search(r"\$\{\w+\}", text.value) and not _takes_variables(path):
                loose = any(f".{name}" in path for name in TEXTS)
                message = f"{text.value} stays as it is: only {TAKERS} take variables from the environment"
                yield Problem(text.line, path, message, warning=loose)


def _takes_variables(path: str) -> bool:
    return path.endswith((CACHE_URL, STORE_URL)) or ".args.wecom." in path


def _texts(node: Yaml, path: str) -> Iterator[tuple[str, Yaml]]:
    if isinstance(node.value, str):
        yield path, node
    for step, child in node.children.items():
        yield from _texts(child, join(path, step))


RULES = (cache_rules, literal_rules)
