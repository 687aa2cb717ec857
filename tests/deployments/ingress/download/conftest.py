"""A record of what this process really connects to and looks up, from Python's audit events."""

import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Calls:
    connected: list[object] = field(default_factory=list)
    looked_up: list[object] = field(default_factory=list)


_recording: list[Calls] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    for calls in _recording:
        if event == "socket.connect":
            calls.connected.append(arguments[1])
        if event == "socket.getaddrinfo":
            calls.looked_up.append(arguments[0])


sys.addaudithook(_hear)


@pytest.fixture
def calls() -> Iterator[Calls]:
    _recording.append(Calls())
    yield _recording[-1]
    _recording.clear()


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """A socket that is forgotten warns when it is collected, and warnings are errors in this folder."""
    yield
    gc.collect(1)
