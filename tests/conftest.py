"""The session's one real Ray Serve instance, and what the machine must have for which tests."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

# Ray reads these when it is imported and when its processes start.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled", RAY_DEDUP_LOGS="0")

ROOT = Path(__file__).resolve().parent.parent
IN_CI = bool(os.environ.get("CI"))


def missing_package(what: str) -> None:
    """Skip with a visible reason on a developer's machine; fail in CI, where everything must be there."""
    reason = f"{what} is not installed: run scripts/install_system_packages.sh"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing_package("Chromium")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def demo_fonts() -> None:
    from demo import fonts

    if fonts.missing():
        missing_package(f"the fonts {', '.join(fonts.missing())}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RedisServer:
    """A ``redis-server`` of our own on a free port, which keeps nothing on disk."""

    path: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when it listens."""
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([self.path, *options], stdout=subprocess.DEVNULL)
        give_up = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, f"redis-server ended with {self.process.returncode}"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < give_up, "redis-server does not listen"
                time.sleep(0.01)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()  # a paused process ends by this too
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """It keeps its connections and accepts new ones, and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def restore(self) -> None:
        """Running, as at the session's start, whatever a test has left behind."""
        self.stop()
        self.start()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    path = shutil.which("redis-server")
    if path is None:
        missing_package("redis-server")
    assert path is not None
    server = RedisServer(path, free_port())
    server.start()
    yield server
    server.stop()


@dataclass
class PostgresServer:
    """A PostgreSQL of our own on a socket in a folder of ours, which loses everything when the session ends."""

    binaries: Path
    folder: Path
    user: str | None
    process: subprocess.Popen[bytes] | None = None
    databases: int = 0

    def url(self, name: str) -> str:
        return f"postgresql://tuwen@/{name}?host={self.folder}"

    def start(self) -> None:
        """Returns when it takes connections."""
        if self.user:
            shutil.chown(self.folder, self.user)
        data = self.folder / "data"
        self._run("initdb", "-D", str(data), "-U", "tuwen", "-A", "trust", "-N", "--locale=C.UTF-8", "-E", "UTF8")
        options = ["-D", str(data), "-k", str(self.folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen([str(self.binaries / "postgres"), *options], stderr=log, user=self.user)
        give_up = time.monotonic() + 60
        while subprocess.run([self.binaries / "pg_isready", "-q", "-h", str(self.folder)], user=self.user).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < give_up, "PostgreSQL does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)  # a fast shutdown
            self.process.wait()
            self.process = None

    def fresh(self) -> str:
        """The address of a new, empty database."""
        self.databases += 1
        name = f"test{self.databases}"
        self._run("createdb", "-h", str(self.folder), "-U", "tuwen", name)
        return self.url(name)

    def _run(self, program: str, *options: str) -> None:
        subprocess.run([str(self.binaries / program), *options], check=True, user=self.user, stdout=subprocess.DEVNULL)


def postgres_binaries() -> Path | None:
    """The folder of PostgreSQL's server programs, which Debian keeps off the PATH."""
    found = [Path(path).resolve().parent for name in ("postgres",) if (path := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    binaries = postgres_binaries()
    if binaries is None:
        missing_package("PostgreSQL")
    assert binaries is not None
    with tempfile.TemporaryDirectory(prefix="tuwen-pg-") as folder:
        # It refuses to run as root.
        server = PostgresServer(binaries, Path(folder), "postgres" if os.getuid() == 0 else None)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@dataclass
class LiveService:
    """The repository's ``serve_config.yaml`` on a real cluster of two logical CPUs and one logical GPU.

    Only the port and ``device: cpu`` differ, so that the GPU's ticket is free for the tests that are about it.
    """

    url: str
    config: dict[str, Any]

    def deploy(self, *applications: dict[str, Any]) -> None:
        """Declare what runs, as ``serve run CONFIG`` does; an application that is not named goes."""
        from ray.serve._private.api import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        config = ServeDeploySchema.model_validate(self.config | {"applications": list(applications)})
        _get_global_client().deploy_apps(config, _blocking=False)

    @property
    def application(self) -> dict[str, Any]:
        """A fresh copy of the application's part of the config, to change and deploy."""
        return yaml.safe_load(yaml.safe_dump(self.config["applications"][0]))

    def wait(self, timeout_s: float = 240) -> None:
        from serve_app.wait import wait

        wait(self.url, "http://127.0.0.1:1", timeout_s)

    def restore(self) -> None:
        """Back to the repository's own configuration."""
        self.deploy(self.application)
        self.wait()


@pytest.fixture(scope="session")
def live() -> Iterator[LiveService]:
    import ray
    from ray import serve

    port = free_port()
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    config["applications"][0]["args"]["model"]["device"] = "cpu"
    ray.init(
        num_cpus=2,
        num_gpus=1,
        object_store_memory=300 * 1024**2,
        include_dashboard=False,
        namespace="serve",
    )
    serve.start(
        proxy_location="HeadOnly",
        http_options=config["http_options"],
        controller_options=config["controller_options"],
    )
    service = LiveService(f"http://127.0.0.1:{port}", config)
    service.restore()
    yield service
    serve.shutdown()
    ray.shutdown()
