"""System calls that Python has no name for."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: object) -> int:
    """Its result. Raises OSError."""
    return checked(libc.syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, *arguments: int) -> None:
    """Raises OSError."""
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    checked(libc.prctl(ctypes.c_int(option), *values))


def checked(result: int) -> int:
    """Of a call that says -1 when it fails."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
