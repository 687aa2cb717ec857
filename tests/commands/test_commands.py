"""The README's commands, run as a newcomer runs them: its own service on the default port, every shell block."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
INDEX = json.loads((ROOT / "demo" / "samples" / "samples.json").read_text())
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
RUN_BY_CI = "make test"

# RAY_ADDRESS and the like would lead a new service into the test session's own cluster.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}


def run(command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """The command in a shell of its own, inside the README's virtual environment."""
    script = f". .venv/bin/activate && {command}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@contextmanager
def served(command: str, log: Path) -> Iterator[str]:
    """``make serve`` in the background; gives the dashboard's address and takes everything down at the end."""
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=ROOT, env=ENVIRONMENT, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield dashboard_of(log, process)
    finally:
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C: Serve and Ray shut down in order
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        deadline = time.monotonic() + 90  # Serve's proxy outlives the command for a moment
        while port_8000_is_taken():
            assert time.monotonic() < deadline, "the service did not let go of its port: " + log.read_text()[-2000:]
            time.sleep(0.5)


def dashboard_of(log: Path, process: "subprocess.Popen[bytes]", timeout_s: float = 240) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = re.search(r"dashboard at .*?(http://[\w.]+:\d+)", log.read_text(errors="replace"))
        if found:
            return found.group(1)
        assert process.poll() is None, log.read_text(errors="replace")
        time.sleep(0.5)
    pytest.fail(f"Ray did not start: {log.read_text(errors='replace')}")


def port_8000_is_taken() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 8000)) == 0


@pytest.fixture(autouse=True)
def port_8000_is_free() -> None:
    if port_8000_is_taken():
        pytest.fail("something listens on port 8000, which the README's service takes: stop it first")


def test_the_readme_has_its_two_commands_and_ci_runs_the_second():
    assert COMMANDS[:2] == ["make serve", RUN_BY_CI]
    assert RUN_BY_CI in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.serve
def test_the_first_command_serves_right_answers_and_every_other_command_works(tmp_path):
    with served(COMMANDS[0], tmp_path / "serve.log"):
        ready = run("python -m serve_app wait")
        assert ready.returncode == 0, ready.stderr + (tmp_path / "serve.log").read_text(errors="replace")[-3000:]
        for command in COMMANDS[2:]:
            done = run(command)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            assert '"error"' not in done.stdout, (command, done.stdout)
        wrong = []
        for entry in INDEX:
            for question, answer in zip(entry["questions"], entry["answers"], strict=True):
                done = run(f"python -m serve_app ask --json demo/samples/{entry['file']} '{question}'")
                found = json.loads(done.stdout)["answer"]
                wrong += [] if found == answer else [(entry["file"], question, found, answer)]
        assert wrong == []


@pytest.mark.serve
def test_a_config_whose_model_folder_is_missing_fails_wait_with_the_reason(tmp_path):
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["applications"][0]["args"]["model"]["checkpoint"] = "./demo/no-such-checkpoint"
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(config, allow_unicode=True))
    made = run(f"make serve CONFIG={broken}")
    assert made.returncode != 0
    assert "no-such-checkpoint does not exist" in made.stderr, "it is told before anything starts"
    # Whoever skips the check learns it from `wait`: `serve run` stays up.
    starting = f". .venv/bin/activate && RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token serve run {broken}"
    with served(starting, tmp_path / "serve.log") as dashboard:
        waited = run(f"python -m serve_app wait --dashboard {dashboard}")
        assert waited.returncode == 1, waited.stderr
        assert "no-such-checkpoint does not exist: set args.model.checkpoint" in waited.stderr
        assert len(waited.stderr.splitlines()) == 1
