"""Processes of this machine, as /proc shows them: who listens where, and which Ray session a process belongs to."""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that accepts connections."""

    address: Address
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    started: int
    """In clock ticks since the machine started."""
    command: tuple[str, ...]

    def __str__(self) -> str:
        return f"process {self.pid} ({shortened(self.command)})"


def shortened(command: tuple[str, ...]) -> str:
    """A command line as one recognises it: without its interpreter, and without folders before the program."""
    words = [word for word in " ".join(command).split(" ") if word]
    is_python = len(words) > 1 and Path(words[0]).name.startswith("python") and not words[1].startswith("-")
    program, *rest = words[1:] if is_python else words or ["?"]
    line = " ".join([Path(program).name, *rest])
    return line if len(line) <= 80 else f"{line[:79]}…"


def listeners(proc: Path = PROC) -> list[Listener]:
    """Every listening TCP socket; none where there is no /proc."""
    return [listener for name in ("tcp", "tcp6") for listener in _table(proc / "net" / name)]


def _table(path: Path) -> Iterator[Listener]:
    try:
        rows = path.read_text().splitlines()[1:]
    except OSError:
        return
    for fields in map(str.split, rows):
        if fields[3] == LISTEN:
            address, _, port = fields[1].partition(":")
            yield Listener(_address(address), int(port, 16), int(fields[9]))


def _address(text: str) -> Address:
    """The kernel prints an address as 32-bit words in the machine's own byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    address = ipaddress.ip_address(packed)
    return getattr(address, "ipv4_mapped", None) or address


def overlap(one: Address, other: Address) -> bool:
    """Whether a connection to one address could end at a socket on the other. ``::`` takes IPv4 too."""
    if one == other:
        return True
    wild = [address for address in (one, other) if address.is_unspecified]
    return any(address.version == 6 for address in wild) or (bool(wild) and one.version == other.version)


def addresses_of(host: str) -> list[Address]:
    """The addresses of a name to listen on; none if it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


def process(pid: int, proc: Path = PROC) -> Process | None:
    """None if there is no such process, or no longer."""
    try:
        status = (proc / str(pid) / "stat").read_text(errors="replace")
        command = (proc / str(pid) / "cmdline").read_text(errors="replace")
    except OSError:
        return None
    name, _, rest = status.partition("(")[2].rpartition(")")
    fields = rest.split()
    words = tuple(command.rstrip("\0").split("\0")) if command else (name,)
    return Process(pid, int(fields[1]), int(fields[19]), words)


def owners(proc: Path = PROC) -> dict[int, Process]:
    """The process that holds each socket, by the socket's inode; of several the oldest. Other users' are left out."""
    held = [(inode, int(entry.name)) for entry in proc.glob("[0-9]*") for inode in _sockets(entry)]
    known = {pid: process(pid, proc) for _, pid in held}
    found = [(inode, who) for inode, pid in held if (who := known[pid]) is not None]
    return dict(sorted(found, key=lambda pair: pair[1].started, reverse=True))


def _sockets(entry: Path) -> list[int]:
    targets = (_target(descriptor) for descriptor in _inside(entry / "fd"))
    return [int(target[8:-1]) for target in targets if target.startswith("socket:[")]


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # another user's, or the process has ended
        return []


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:  # closed since it was listed
        return ""


def ignores(pid: int, signal_number: int, proc: Path = PROC) -> bool:
    """Whether a process ignores a signal, as a shell makes its background jobs ignore Ctrl-C."""
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:")]
    return any(mask >> (signal_number - 1) & 1 for mask in masks)


def lineage(pid: int, proc: Path = PROC) -> Iterator[Process]:
    """The process, its parent, and so on up to the first one."""
    found = process(pid, proc)
    while found is not None:
        yield found
        found = process(found.parent, proc)


def raylet_of(pid: int, proc: Path = PROC) -> Process | None:
    """The raylet (Ray's daemon on each node) that started a process; None for one that is not Ray's."""
    return next((one for one in lineage(pid, proc) if Path(one.command[0]).name == "raylet"), None)


def session_of(pid: int, proc: Path = PROC) -> str | None:
    """The name of the Ray session that a process belongs to."""
    raylet = raylet_of(pid, proc)
    named = [word.partition("=")[2] for word in raylet.command if word.startswith("--session-name=")] if raylet else []
    return named[0] if named else None
