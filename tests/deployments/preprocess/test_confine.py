"""What a confined process can no longer do, tried in one that is confined as the decoding process is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.preprocess.confine import MEASURES, seccomp

ROOT = Path(__file__).resolve().parents[3]
TRIES = """
import ctypes, json, os, socket, sys
from deployments.preprocess.confine import confine
from deployments.preprocess.worker import load_all

parent, secret = os.getppid(), ctypes.create_string_buffer(8)
libc = ctypes.CDLL(None, use_errno=True)
load_all()
in_force = confine()

def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

tries = {
    "open a file": lambda: open("/etc/hostname"),
    "write a file": lambda: open("/tmp/tuwen-confined", "w"),
    "read the parent's environment": lambda: open(f"/proc/{parent}/environ", "rb"),
    "read the parent's memory": lambda: open(f"/proc/{parent}/mem", "rb"),
    "look into the parent": lambda: call("process_vm_readv", parent, secret, 1, secret, 1, 0),
    "trace the parent": lambda: call("ptrace", 16, parent, 0, 0),
    "end the parent": lambda: os.kill(parent, 0),
    "open a socket": lambda: socket.socket(),
    "open a local socket": lambda: socket.socket(socket.AF_UNIX),
    "start a program": lambda: os.execv(sys.executable, [sys.executable, "--version"]),
    "start a process": lambda: os.fork() or os._exit(0),
    "limit the parent": lambda: call("prlimit", parent, 0, 0, secret),
}
done = []
for name, attempt in tries.items():
    try:
        attempt()
        done.append(name)
    except OSError:
        pass
print(json.dumps({"in force": in_force, "done": done}))
"""


@pytest.fixture(scope="module")
def outcome():
    run = subprocess.run([sys.executable, "-c", TRIES], cwd=ROOT, capture_output=True, check=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_it_can_do_nothing_but_decode(outcome):
    if "seccomp" not in outcome["in force"]:
        pytest.skip("this kernel has no seccomp")
    assert outcome["done"] == []


def test_what_is_in_force_is_told_by_name(outcome):
    assert set(outcome["in force"]) <= set(MEASURES)
    assert outcome["in force"][:3] == list(MEASURES)[:3]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_ends_in_refusal_and_fits_the_kernel_s_limit(machine):
    program = seccomp.program(machine)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4096
    assert program[-4:] == seccomp.REFUSE.to_bytes(4, sys.byteorder)
