"""What ``/v1/load`` says while a load runs, twice a second."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from benchmarks.load.generator import Taken

EVERY_S = 0.5
NAMES = ("queue_age_s", "replicas", "level")


@dataclass(slots=True)
class Seen:
    """Looks, each with the time of day it was taken at."""

    looks: list[dict[str, Any]] = field(default_factory=list)

    def since(self, began: float) -> list[dict[str, Any]]:
        """Those since then, with the seconds from there as ``at``."""
        return [
            {"at": look["time"] - began} | {name: look[name] for name in NAMES}
            for look in self.looks
            if look["time"] >= began
        ]

    def since_first_of(self, taken: Taken) -> list[dict[str, Any]]:
        return self.since(taken.began)


@contextmanager
def load_of(url: str) -> Iterator[Seen]:
    """Looks until the block is left."""
    seen, ended = Seen(), threading.Event()

    def look() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not ended.wait(EVERY_S):
                with suppress(requests.RequestException, ValueError):
                    seen.looks.append(session.get(f"{url}/v1/load", timeout=5).json())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield seen
    finally:
        ended.set()
        looking.join()
