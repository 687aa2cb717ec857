"""``scripts/install.sh``, as make calls it: which interpreter it takes, what it says without one, what it leaves behind.

A project of its own with one dependency stands for this one, so that real environments are made in seconds.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKEND = """
import base64, hashlib, pathlib, time, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    if pathlib.Path("hang").exists():
        pathlib.Path("hanging").touch()
        time.sleep(600)
    name = "tiny-1-py3-none-any.whl"
    files = {
        "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\nProvides-Extra: dev\\n" + pathlib.Path("needs").read_text(),
        "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: here\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "tiny.py": "installed = True\\n",
    }
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr("tiny-1.dist-info/RECORD", "".join(f"{path},,\\n" for path in [*files, "tiny-1.dist-info/RECORD"]))
    return name
build_wheel = build_editable
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "tiny"\nversion = "1"\noptional-dependencies.dev = []\n'
TOOLS = ("dirname", "tr", "grep", "paste", "rm", "mv", "touch", "find")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "install.sh", tmp_path / "scripts")
    for name, text in {"pyproject.toml": PROJECT, "backend.py": BACKEND, "needs": "", "constraints.txt": ""}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def started(project: Path, python: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["/bin/sh", "scripts/install.sh"],
        cwd=project,
        env={"PATH": str(project / "bin"), "PYTHON": python, "HOME": str(project), "PIP_NO_INDEX": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def installed(project: Path, python: str = "") -> tuple[int, str]:
    """The exit code, and what was said."""
    process = started(project, python)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def interpreter(project: Path, name: str, refuses: str) -> Path:
    """A program on the PATH that is this Python, but for any script that holds ``refuses``."""
    path = project / "bin" / name
    path.write_text(f'#!/bin/sh\ncase "$*" in *{refuses}*) exit 1;; esac\nexec {BASE} "$@"\n')
    path.chmod(0o755)
    return path


BASE = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"


def test_without_a_python_that_fits_it_says_so(project):
    interpreter(project, "python3", refuses="version_info")
    assert installed(project) == (
        1,
        "install: no Python 3.11, 3.12 or 3.13 on the PATH: install one, or name one with make PYTHON=/path/to/python\n",
    )
    assert not (project / ".venv").exists()


def test_without_the_venv_module_it_says_what_to_install(project):
    interpreter(project, "python3", refuses="ensurepip")
    version = f"3.{sys.version_info.minor}"
    code, said = installed(project)
    assert code == 1
    assert said.startswith(
        f"install: python3 has no venv module: install it (on Debian and Ubuntu: apt install python{version}-venv)"
    )


@pytest.mark.parametrize(
    ("python", "reason"),
    [("/no/such/python", "there is no such program"), ("/bin/false", "does not run as a Python interpreter")],
)
def test_a_python_that_was_named_and_does_not_fit_is_not_replaced_by_another(project, python, reason):
    interpreter(project, "python3", refuses="nothing-at-all")
    assert installed(project, python) == (1, f"install: PYTHON={python}: {reason}\n".replace(": does", " does"))


def test_an_environment_is_made_once_and_made_anew_when_it_cannot_stay(project):
    interpreter(project, "python3.13", refuses="version_info")
    interpreter(project, "python3", refuses="nothing-at-all")
    code, said = installed(project)
    assert (code, said.count("\n")) == (0, 1), said
    assert "(" + str(project / "bin" / "python3") + ")" in said
    assert subprocess.run([project / ".venv/bin/python", "-c", "import tiny"], check=False).returncode == 0
    assert installed(project) == (0, "")

    moved = project / ".venv/bin/python"
    moved.unlink()
    moved.symlink_to("/no/longer/there")
    code, said = installed(project)
    assert (code, said.splitlines()[0]) == (0, "install: .venv is made anew: its interpreter has gone")


def test_a_failed_installation_says_so_and_does_not_pass_as_one(project):
    interpreter(project, "python3", refuses="nothing-at-all")
    (project / "needs").write_text("Requires-Dist: nowhere-to-be-found\n")
    for said in (installed(project), installed(project)):
        assert said[0] == 1
        assert "pip could not install the packages" in said[1].splitlines()[-1]
    assert "its installation did not come to its end" in said[1]
    (project / "needs").write_text("")
    assert installed(project)[0] == 0


def test_an_environment_that_works_outlives_an_update_that_cannot_be_had(project):
    interpreter(project, "python3", refuses="nothing-at-all")
    assert installed(project)[0] == 0
    (project / "needs").write_text("Requires-Dist: nowhere-to-be-found\n")
    later = time.time() + 60
    os.utime(project / "constraints.txt", (later, later))
    assert installed(project)[0] == 1
    assert subprocess.run([project / ".venv/bin/python", "-c", "import tiny"], check=False).returncode == 0
    (project / "needs").write_text("")
    assert installed(project) == (0, "")


def test_an_interrupted_installation_is_made_anew(project):
    interpreter(project, "python3", refuses="nothing-at-all")
    (project / "hang").touch()
    process = started(project)
    give_up = time.monotonic() + 60
    while not (project / "hanging").exists():
        assert time.monotonic() < give_up
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (project / "hang").unlink()
    code, said = installed(project)
    assert code == 0
    assert said.startswith("install: .venv is made anew: its installation did not come to its end\n")
