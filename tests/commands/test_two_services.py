"""Two real services on one port: the second refuses to start and names the first, which keeps all its connections."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from serve_app.wait import wait
from tests.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
NO_DASHBOARD = "http://127.0.0.1:1"
CONNECTIONS = 60


@contextmanager
def serve_run(config: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("w") as out:
        process = subprocess.Popen(
            [BIN / "serve", "run", config],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def config_of(folder: Path, port: int, name: str) -> Path:
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    config["applications"][0]["args"]["model"] |= {"name": name, "device": "cpu"}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True))
    return path


def last_line_from(mark: str, log: Path, timeout_s: float = 30) -> str:
    """The log's last line that holds the mark, once there is one: lines of several processes come in any order."""
    give_up = time.monotonic() + timeout_s
    while mark not in log.read_text():
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.1)
    return [line for line in log.read_text().splitlines() if mark in line][-1]


def model_served(url: str) -> str:
    """The name of the model that answers a connection of its own."""
    return str(requests.get(f"{url}/healthz", timeout=10, headers={"Connection": "close"}).json()["model"])


@pytest.mark.serve
def test_a_second_service_on_a_port_refuses_to_start_and_takes_no_connection(tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    first_log, second_log = tmp_path / "first.log", tmp_path / "second.log"
    with serve_run(config_of(tmp_path, port, "first"), first_log) as first:
        wait(url, NO_DASHBOARD, 240)
        assert f"ready: first on cpu (level full) answers at {url}/" in last_line_from("ready: ", first_log)
        held = f"port {port} is held by process {first.pid} (serve run {tmp_path}"
        second_config = config_of(tmp_path, port, "second")

        preflight = subprocess.run(
            [sys.executable, "-m", "serve_app", "preflight", second_config], cwd=ROOT, capture_output=True, text=True
        )
        assert preflight.returncode == 1
        assert held in preflight.stderr
        assert preflight.stderr.count("\n") == 1

        with serve_run(second_config, second_log) as second:
            answered = []
            while second.poll() is None:
                answered.append(model_served(url))
                time.sleep(0.1)  # spread over the whole life of the second
            answered += [model_served(url) for _ in range(CONNECTIONS - len(answered))]
        assert answered == ["first"] * len(answered)
        assert len(answered) >= CONNECTIONS
        assert second.returncode != 0
        assert held in second_log.read_text()
        assert "Traceback" not in second_log.read_text()
