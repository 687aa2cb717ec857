"""Files and folders that the settings name: there, and with what is looked for in them."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deployments.ingress.http.page import INDEX
from deployments.preprocess.safety.blocklist import Blocklist
from deployments.preprocess.safety.cards import CONFIG, WEIGHTS, CardConfig
from serve_app.check.problems import Problem, hint
from serve_app.check.view import App, contradiction
from serve_app.check.world import World
from serve_app.settings import MORE, ROOT

HUB_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
LACKING = "a replica that lacks it cannot start"
HOW = "write ./… from the folder that holds the packages, or an absolute path"

Look = Callable[[Path, World], str | None]
"""What is wrong with the content, None if nothing is. Raises OSError for what cannot be read."""


def located(path: str) -> Path:
    """Where a path of the settings leads, as in ``serve_app.graph.absolute``."""
    if path.startswith("./"):
        return ROOT / path
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the home of a user who is not known
        return Path(path)


def config_of(folder: str, world: World) -> dict[str, Any]:
    """The ``config.json`` of a checkpoint's folder; empty if it cannot be read here."""
    try:
        config = _json(world.read(located(folder) / CONFIG))
    except (OSError, UnicodeDecodeError):
        return {}
    return config if isinstance(config, dict) else {}


def checkpoint_rules(app: App) -> Iterator[Problem]:
    yield from _looked_at(app, "model.checkpoint", _served, hub=True)
    if _is_path(app.args["model.checkpoint"]):
        message = "has no effect on a folder: it names a commit or tag of a hub checkpoint"
        yield from contradiction([(app.args, "model.revision")], message)


def more_models_rules(app: App) -> Iterator[Problem]:
    """The checkpoints of models beside the first, and deployments that none of them has."""
    models = app.args["more_models"]
    for place, model in enumerate(models):
        if trouble := _trouble(model["checkpoint"], _served, app.world, hub=True):
            yield app.args.problem("more_models", *trouble, item=place)
    names = [f"{MORE}{model['name']}" for model in models]
    for place, entry in enumerate(app.application.given("deployments") or ()):
        name = str(entry.get("name")) if isinstance(entry, dict) else ""
        if name.startswith(MORE) and name not in names:
            text = f"no model of args.more_models has the deployment '{name}'{hint(name, names)}"
            yield app.application.problem("deployments", text, item=place)


def safety_rules(app: App) -> Iterator[Problem]:
    yield from _looked_at(app, "preprocess.safety.blocklist", _blocklist)
    yield from _looked_at(app, "preprocess.safety.cards", _cards)
    yield from _looked_at(app, "preprocess.safety.classifier", _transformers, hub=True)
    if app.args["preprocess.safety.clip"] is not None:
        yield from _looked_at(app, "preprocess.safety.clip.folder", _transformers, hub=True)


def samples_rules(app: App) -> Iterator[Problem]:
    yield from _looked_at(app, "ingress.samples", _samples, lacking="the page shows no samples")
    folder = app.args["ingress.samples"]
    if folder and app.world.exists(located(folder)) and not app.world.exists(located(folder) / INDEX):
        yield app.args.problem("ingress.samples", f"{folder} has no {INDEX}: the page shows no samples", warning=True)


def certificate_rules(app: App) -> Iterator[Problem]:
    """Files of TLS, which Serve's proxy reads."""
    for key in ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs"):
        keys = f"http_options.{key}"
        path = app.top[keys]
        if path is not None and not app.world.exists(Path(path)):
            yield app.top.problem(keys, f"{path} does not exist here: a proxy that lacks it cannot start", warning=True)


def _looked_at(app: App, keys: str, look: Look, hub: bool = False, lacking: str = LACKING) -> Iterator[Problem]:
    """The problem with what a setting names."""
    path = app.args[keys]
    if path is not None and (trouble := _trouble(path, look, app.world, hub, lacking)):
        yield app.args.problem(keys, *trouble)


def _trouble(path: str, look: Look, world: World, hub: bool, lacking: str = LACKING) -> tuple[str, bool] | None:
    """What is wrong with what a text names, and whether that may be otherwise on other machines."""
    if not _is_path(path):
        unplaced = _unplaced(path, hub, world)
        return (unplaced, False) if unplaced else None
    if not world.exists(located(path)):
        own = path.startswith("./")
        where = f"{located(path)} does not exist" if own else f"{path} does not exist here"
        return f"{where}: {lacking}", not own
    fault = _fault(look, located(path), world)
    return (f"{path}: {fault}", False) if fault else None


def _is_path(path: str) -> bool:
    return path.startswith(("/", "./", "~"))


def _unplaced(path: str, hub: bool, world: World) -> str | None:
    """What is wrong with a text that is no path from a fixed place."""
    if not hub or path.startswith("../"):
        return f"{path} would be looked for wherever a replica happens to run: {HOW}"
    if world.exists(ROOT / path):
        return f"{path} names a repository on the Hugging Face hub, although a folder of that name is here: ./{path}?"
    if not HUB_NAME.fullmatch(path):
        return f"{path} is neither a folder nor a repository's name on the Hugging Face hub: {HOW}"
    return None


def _fault(look: Look, path: Path, world: World) -> str | None:
    try:
        return look(path, world)
    except UnicodeDecodeError:
        return "is no text in UTF-8"
    except OSError as fault:
        return f"cannot be read: {fault.strerror or fault}"


def _served(folder: Path, world: World) -> str | None:
    return world.checkpoint_fault(folder)


def _transformers(folder: Path, world: World) -> str | None:
    config = folder / CONFIG
    if not world.exists(config):
        return f"has no {CONFIG}: name the folder of a downloaded checkpoint"
    return None if isinstance(_json(world.read(config)), dict) else f"has a {CONFIG} that is no JSON object"


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _blocklist(path: Path, world: World) -> str | None:
    try:
        Blocklist.parse(world.read(path), str(path))
    except UnicodeDecodeError:
        raise
    except ValueError as fault:
        return f"is no blocklist: {fault}"
    return None


def _cards(folder: Path, world: World) -> str | None:
    missing = [name for name in (CONFIG, WEIGHTS) if not world.exists(folder / name)]
    if missing:
        return f"has no {missing[0]}: name a folder that `python -m demo.cards.train` has written"
    try:
        CardConfig.model_validate(_json(world.read(folder / CONFIG)))
    except ValidationError as fault:
        return f"holds no card classifier: its {CONFIG} has {fault.error_count()} faults"
    return None


def _samples(folder: Path, world: World) -> str | None:
    listed = not world.exists(folder / INDEX) or isinstance(_json(world.read(folder / INDEX)), list)
    return None if listed else f"has a {INDEX} that is no JSON list"


RULES = (checkpoint_rules, more_models_rules, safety_rules, samples_rules, certificate_rules)
