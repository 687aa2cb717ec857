"""The virtual environments that peers run in: under ``build/peers``, kept for the next run.

Each sees the packages of the interpreter that runs the benchmark through a path file, and holds only what its peer
adds; constraints.txt holds for that too. So all peers compute with the same torch and the same transformers.
"""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.peers.questions import ROOT

FOLDER = ROOT / "build" / "peers"
DONE = ".installed"


def environment(name: str, requirements: tuple[str, ...], fresh: bool) -> Path:
    """The interpreter of that peer's environment, which is made unless it is there with these requirements."""
    folder = FOLDER / name
    wanted = "\n".join((sys.executable, *requirements))
    done = folder / DONE
    if fresh or not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, requirements)
        done.write_text(wanted)
    return folder / "bin" / "python"


def _make(folder: Path, requirements: tuple[str, ...]) -> None:
    venv.create(folder, with_pip=False, symlinks=True)
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "host.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if requirements:
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), *requirements], check=True)
