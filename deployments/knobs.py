"""Knobs of a running replica: a change that cannot be read leaves the old ones in force, and is told, not raised.

Serve takes an exception in ``reconfigure`` for a broken replica and replaces it, by one that breaks as well.
"""

import logging
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

logger = logging.getLogger("ray.serve")

K = TypeVar("K", bound=BaseModel)
SHOWN_CHARS = 80


class KnobsRefused(Exception):
    """The first knobs of a replica cannot be read: there are none to fall back on."""


class LiveKnobs(Generic[K]):
    """``present`` is in force, the defaults before the first config; ``rejected`` says what of the last was refused."""

    def __init__(self, deployment: str, model: type[K]) -> None:
        self._deployment, self._model = deployment, model
        self.present: K = model()
        self.rejected: tuple[str, ...] = ()
        self._configured = False

    def take(self, user_config: Any) -> None:
        """Put the config in force if it can be read. Raises KnobsRefused for a replica's first one."""
        try:
            self.present, self.rejected = self._model.model_validate(user_config), ()
            self._configured = True
        except ValidationError as fault:
            faults = tuple(f"{self._deployment}: {told(error)}" for error in fault.errors())
            if not self._configured:
                raise KnobsRefused("; ".join(faults)) from None
            self.rejected = faults
            for one in faults:
                logger.error("knob refused, the old values stay in force: %s", one)


def told(error: Any) -> str:
    """One of pydantic's errors with the field's path and the value that was given."""
    path = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{path}: there is no such knob"
    secret = "key" in path or "headers" in path
    given = "" if secret else f", got {repr(error['input'])[:SHOWN_CHARS]}"
    return f"{path}: {error['msg']}{given}"
