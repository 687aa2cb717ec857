"""What `serve run` would stumble over on this machine, found before it starts: each fault in one sentence."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve_app.ports import PortTaken, demand_free

RAY_FOLDER = "ray"
LONGEST_FOLDER = 43
"""Ray's sockets lie below it under long names, and the path of a socket has 107 bytes at most."""


def faults(http_options: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """What is in the way of a service with these options; empty when nothing is."""
    found = (port_fault(http_options), token_fault(environment), folder_fault(environment))
    return [fault for fault in found if fault is not None]


def port_fault(http_options: Mapping[str, Any]) -> str | None:
    try:
        demand_free(http_options["host"], http_options["port"])
    except PortTaken as taken:
        return str(taken)
    return None


def token_fault(environment: Mapping[str, str]) -> str | None:
    """Ray keeps the token of its dashboard in a file, where `wait` finds it."""
    if environment.get("RAY_AUTH_MODE") != "token" or environment.get("RAY_AUTH_TOKEN"):
        return None
    try:
        path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        if path.is_file() and path.read_bytes().strip():
            return None
        reason = cannot_write(path.parent)
    except (OSError, RuntimeError) as fault:
        path, reason = Path("~/.ray/auth_token"), str(fault)
    if reason is None:
        return None
    return f"Ray cannot keep its token in {path} ({reason}): set HOME or RAY_AUTH_TOKEN_PATH to where it can be written"


def folder_fault(environment: Mapping[str, str]) -> str | None:
    folder = Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp") / RAY_FOLDER
    if len(str(folder).encode()) > LONGEST_FOLDER:
        return f"Ray's folder {folder} has too long a name for its sockets: set RAY_TMPDIR to a shorter one"
    reason = cannot_write(folder)
    return f"Ray cannot write to {folder} ({reason}): set RAY_TMPDIR to where it can be written" if reason else None


def cannot_write(folder: Path) -> str | None:
    """Why no file can be made in a folder, which is made if it is not there; None if one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"0")
    except OSError as fault:
        return fault.strerror or str(fault)
    return None
