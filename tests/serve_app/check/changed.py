"""The shipped demo config with single settings changed, and machines that are only imagined."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from serve_app.check import Problem, check
from serve_app.check.world import ThisMachine
from serve_app.settings import ROOT

SHIPPED = (ROOT / "serve_config.yaml").read_text(encoding="utf-8")
DEPLOYMENTS = ("Ingress", "Preprocessor", "Model")


@dataclass(frozen=True)
class Imagined:
    """A machine with this repository's own files and some more."""

    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ("redis",)
    broken: str | None = None
    """What is wrong with checkpoints outside the repository."""

    def exists(self, path: Path) -> bool:
        inside = any(Path(file).is_relative_to(path) for file in self.files)
        return inside or (path.is_relative_to(ROOT) and path.exists())

    def read(self, path: Path) -> str:
        if str(path) in self.files:
            return self.files[str(path)]
        if not self.exists(path):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return path.read_text(encoding="utf-8")

    def has_package(self, name: str) -> bool:
        return name in self.packages

    def checkpoint_fault(self, folder: Path) -> str | None:
        return ThisMachine().checkpoint_fault(folder) if folder.is_relative_to(ROOT) else self.broken


HERE = Imagined()


def full_path(keys: str) -> str:
    """``Model.user_config.level`` as a problem's path; ``application`` is ours, ``args`` its args."""
    first, dot, rest = keys.partition(".")
    if first in DEPLOYMENTS:
        first = f"applications[0].deployments[{DEPLOYMENTS.index(first)}]"
    first = {"application": "applications[0]", "args": "applications[0].args"}.get(first, first)
    return first + dot + rest


def changed(changes: Mapping[str, Any]) -> str:
    """The shipped config with other values at those keys; a key that ends with ``-`` is taken out."""
    config = yaml.safe_load(SHIPPED)
    application = config["applications"][0]
    tops = {"application": application, "args": application["args"]}
    tops |= dict(zip(DEPLOYMENTS, application["deployments"], strict=True))
    for keys, value in changes.items():
        *outer, last = keys.split(".")
        mapping = tops.get(outer[0], config) if outer else config
        for key in outer[1:] if outer and outer[0] in tops else outer:
            mapping = mapping.setdefault(key, {})
        if last.endswith("-"):
            del mapping[last[:-1]]
        else:
            mapping[last] = value
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=False)


def problems_of(changes: Mapping[str, Any], world: Imagined = HERE) -> list[Problem]:
    return check(changed(changes), world)
