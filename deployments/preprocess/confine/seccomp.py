"""seccomp: the few system calls that decoding needs; all others fail with EPERM.

None among them opens a file or a socket, starts a program or a process, or looks at another process.
https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import ctypes
import errno
import platform
import struct

from deployments.preprocess.confine.system import prctl

PR_SET_SECCOMP, MODE_FILTER = 22, 2
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in ``struct seccomp_data``."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79),
    "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "ioctl": (16, 29),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "sched_yield": (24, 124),
    "mremap": (25, 216), "madvise": (28, 233), "getpid": (39, 172), "exit": (60, 93), "getrusage": (98, 165),
    "sigaltstack": (131, 132), "gettid": (186, 178), "futex": (202, 98), "restart_syscall": (219, 128),
    "clock_gettime": (228, 113), "exit_group": (231, 94), "getrandom": (318, 278), "rseq": (334, 293),
}  # fmt: skip
"""Their numbers on x86_64 and on aarch64."""

_PRLIMIT = (302, 261)


def few_system_calls() -> None:
    """Raises OSError where the kernel has no seccomp, NotImplementedError on other machines than those above."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise NotImplementedError(f"no table of system calls for {machine}")
    code = program(machine)
    filter_ = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(filter_)))
    prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.addressof(header))


def program(machine: str) -> bytes:
    """In classic BPF: another architecture's call ends the process; limits may be set, but only one's own."""
    column = list(_ARCHITECTURES).index(machine)
    steps = [
        _step(LOAD, ARCHITECTURE),
        _step(JUMP_IF_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER),
    ]
    for numbers in _NUMBERS.values():
        steps += [_step(JUMP_IF_EQUAL, numbers[column], 0, 1), _step(RETURN, ALLOW)]
    steps += [
        _step(JUMP_IF_EQUAL, _PRLIMIT[column], 0, 3),
        _step(LOAD, FIRST_ARGUMENT),
        _step(JUMP_IF_EQUAL, 0, 0, 1),  # process 0 is the caller itself
        _step(RETURN, ALLOW),
        _step(RETURN, REFUSE),
    ]
    return b"".join(steps)


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """``struct sock_filter``."""
    return struct.pack("=HBBI", operation, if_true, if_false, value)
