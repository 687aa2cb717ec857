"""The services that are compared: how each is started, seen to be ready, and ended with all its processes."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks.peers import ours
from benchmarks.peers.environments import FOLDER, environment
from benchmarks.peers.questions import ROOT
from benchmarks.process_costs import everyone, tree
from serve_app.wait import DeploymentFailed, KnobsRefused, NotReady, wait

READY_S = 180.0
END_S = 10.0
DTYPES = ("float32", "bfloat16")
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Peer:
    """A program of this package, in an environment with what it needs besides; ``beams`` wide."""

    module: str
    requirements: tuple[str, ...] = ()
    dialect: str = "form"
    beams: int = 1


PEERS = {
    "seed": Peer("seed"),
    "transformers_serve": Peer("transformers_serve", ("transformers[serving]", "torchvision"), "chat"),
    "litserve": Peer("litserve_app", ("litserve==0.2.19",)),
    "serve_batch": Peer("serve_batch"),
    "seed_beams": Peer("seed", beams=4),
}
SERVICES = (*ours.LEVELS, *PEERS)


class NotStarted(Exception):
    """A service that ended, or was not ready in time; the message has the last words of its log."""


@dataclass(frozen=True, slots=True)
class Start:
    """What it takes to start a service on ``port``, and how to see that it is ready."""

    command: list[str]
    environment: dict[str, str]
    port: int
    dialect: str
    is_ready: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Running:
    url: str
    dialect: str
    root: int
    ready_s: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_environments(services: Iterable[str], fresh: bool) -> None:
    """Of those of the services that are peers, where they are not there yet or ``fresh`` ones are asked for."""
    for peer in {PEERS[name].module: PEERS[name] for name in services if name in PEERS}.values():
        environment(peer.module, peer.requirements, fresh)


def start_of(name: str, dtype: str, threads: int, checkpoint: Path) -> Start:
    """How the service of that name starts; ``dtype`` and ``threads`` are the peers': ours are as the config says."""
    port = free_port()
    if name in ours.LEVELS:
        return ours_with(ours.changed(ours.shipped(), port, ours.LEVELS[name]), name)
    peer = PEERS[name]
    python = environment(peer.module, peer.requirements, fresh=False)
    arguments = _arguments(name, checkpoint, port, dtype, threads)
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "RAY_USAGE_STATS_ENABLED": "0"}
    variables.pop("RAY_ADDRESS", None)
    command = [str(python), "-m", f"benchmarks.peers.{peer.module}", *arguments]
    return Start(command, variables, port, peer.dialect, _answers_health)


def _arguments(name: str, checkpoint: Path, port: int, dtype: str, threads: int) -> list[str]:
    if name == "transformers_serve":
        where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
        return ["serve", str(checkpoint), *where, "--dtype", dtype, "--reasoning", "off"]
    beams = str(PEERS[name].beams)
    return ["--port", str(port), "--checkpoint", str(checkpoint), "--dtype", dtype, "--threads", str(threads),
            "--beams", beams]  # fmt: skip


def ours_with(config: dict[str, Any], name: str) -> Start:
    """Ours on a config of its own."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = ours.command(config, FOLDER / f"{name}.yaml")
    return Start(command, ours.environment(), config["http_options"]["port"], "form", _waits)


def _answers_health(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _waits(url: str) -> bool:
    """As ``python -m serve_app wait`` does. Raises NotStarted with the reason where a deployment failed."""
    try:
        wait(url, None, READY_S, sleep=lambda _: time.sleep(0.2))
    except (DeploymentFailed, KnobsRefused, NotReady) as fault:
        raise NotStarted(str(fault)) from fault
    return True


def adopt_orphans() -> None:
    """Processes whose parents end become this process's children, so that none is lost from its tree (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


@contextmanager
def running(name: str, start: Start) -> Iterator[Running]:
    """The service, ready; it has ended with all its processes when the block is left. Raises NotStarted."""
    logs = FOLDER / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log, began, url = logs / f"{name}.log", time.perf_counter(), f"http://127.0.0.1:{start.port}"
    with log.open("wb") as words:
        root = subprocess.Popen(
            start.command, cwd=ROOT, env=start.environment, stdin=subprocess.DEVNULL, stdout=words,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_ready(root, start, url, log)
        yield Running(url, start.dialect, root.pid, time.perf_counter() - began)
    finally:
        end(root)


def _wait_ready(root: subprocess.Popen[bytes], start: Start, url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not start.is_ready(url):
        if root.poll() is not None or time.monotonic() > deadline:
            last = " / ".join(log.read_text(errors="replace").splitlines()[-5:])
            raise NotStarted(f"{' '.join(start.command[-4:])}: {last} (all of it in {log})")
        time.sleep(0.1)


def end(root: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and kill what is left of its tree: nothing but what it started."""
    known = {seen.key for seen in tree(root.pid)}
    root.terminate()
    deadline = time.monotonic() + END_S
    while _alive(known) and time.monotonic() < deadline:
        root.poll()
        _reap_orphans()
        time.sleep(0.1)
        known |= {seen.key for seen in tree(root.pid)}
    for pid, _ in _alive(known):
        os.kill(pid, signal.SIGKILL)
    root.wait()
    _reap_orphans()


def _alive(known: set[tuple[int, int]]) -> set[tuple[int, int]]:
    return known & {seen.key for seen in everyone().values() if not seen.is_zombie}


def _reap_orphans() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass
