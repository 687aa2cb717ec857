"""What a config speaks of beyond itself: files, environment variables and packages of the machine it is checked on."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from deployments.checkpoints import CheckpointError
from deployments.model.checkpoint import inspect


class World(Protocol):
    """The machine as rules see it."""

    @property
    def environment(self) -> Mapping[str, str]: ...

    def exists(self, path: Path) -> bool:
        """Whether a file or a folder is there."""
        ...

    def read(self, path: Path) -> str:
        """The text of a file. Raises OSError, or UnicodeDecodeError."""
        ...

    def has_package(self, name: str) -> bool: ...

    def checkpoint_fault(self, folder: Path) -> str | None:
        """Why a folder's checkpoint cannot be served, as far as its files tell; None if it can."""
        ...


class ThisMachine:
    """The machine that the check runs on."""

    environment: Mapping[str, str] = os.environ

    def exists(self, path: Path) -> bool:
        try:
            return path.exists()
        except (OSError, ValueError):  # a name that is too long, or holds a NUL
            return False

    def read(self, path: Path) -> str:
        return path.read_text(encoding="utf-8")

    def has_package(self, name: str) -> bool:
        return find_spec(name) is not None

    def checkpoint_fault(self, folder: Path) -> str | None:
        try:
            inspect(folder)
        except CheckpointError as fault:
            return str(fault)
        return None
