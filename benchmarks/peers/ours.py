"""This service, started as a user starts it: ``serve run`` on its config, in the Makefile's environment.

The config is the shipped one with another port and, where the name says so, another level.
"""

import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.peers.questions import ROOT

CONFIG = ROOT / "serve_config.yaml"
LEVELS = {"ours_fast": "fast", "ours_full": "full", "ours_shipped": None}
"""The level that each of our settings asks for; None is the shipped config's own."""

os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # for the service and for whoever waits for it


def makefile_environment(makefile: str) -> dict[str, str]:
    """The variables that ``make serve`` sets where the caller has not: lines ``export NAME ?= value``."""
    return dict(re.findall(r"^export (\w+) \?= *(\S+)$", makefile, re.M))


def changed(config: Mapping[str, Any], port: int, level: str | None, import_path: str | None = None) -> dict[str, Any]:
    """The config of one application with another port and, if given, another level of the Model and another graph."""
    (application,) = config["applications"]
    deployments = [
        one | {"user_config": one["user_config"] | {"level": level}} if level and one["name"] == "Model" else one
        for one in application["deployments"]
    ]
    application = application | {"deployments": deployments}
    application |= {"import_path": import_path} if import_path else {}
    options = dict(config["http_options"]) | {"port": port}
    return dict(config) | {"http_options": options, "applications": [application]}


def shipped() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return config


def command(config: Mapping[str, Any], into: Path) -> list[str]:
    """``serve run`` on a config that is written to a file first."""
    into.write_text(yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False), encoding="utf-8")
    return [str(Path(sys.executable).parent / "serve"), "run", str(into)]


def environment() -> dict[str, str]:
    """What ``make serve`` would run it with; a Ray that the caller's environment names is not joined."""
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    path = f"{Path(sys.executable).parent}:{own.get('PATH', '')}"
    given = makefile_environment((ROOT / "Makefile").read_text(encoding="utf-8"))
    return given | own | {"PATH": path, "PYTHONPATH": str(ROOT)}
