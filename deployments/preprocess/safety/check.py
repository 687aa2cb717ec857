"""The seam of the safety filter: what a backend is shown and what it says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from deployments.contract import Pixels


@dataclass(frozen=True, slots=True)
class Subject:
    """A decoded picture: ``pixels`` of its overview, SHA-256 of the file, digest of all its pixels."""

    pixels: Pixels
    file_sha256: str
    picture: str


class SafetyCheck(Protocol):
    """A backend. What it raises is a failure of the check, handled as the setting ``on_failure`` says."""

    name: str

    def scores(self, subject: Subject) -> Mapping[str, float]:
        """By label, how sure it is (0 to 1) that the picture is of that kind."""
        ...
