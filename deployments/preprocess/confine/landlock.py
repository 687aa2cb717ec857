"""Landlock: from here on no file can be opened, and no other process looked into or signalled.

https://docs.kernel.org/userspace-api/landlock.html: a ruleset that handles every access and allows none.
"""

import ctypes
import os

from deployments.preprocess.confine.system import system_call

CREATE_RULESET, RESTRICT_SELF = 444, 446
VERSION = 1
_FILE_ACCESSES = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many kinds of access to files each version knows; those after 5 have added none."""


class Ruleset(ctypes.Structure):
    """``struct landlock_ruleset_attr``; older kernels know its beginning only."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def no_files_no_network() -> None:
    """Raises OSError where the kernel has no Landlock. What is open stays open."""
    version = system_call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))
    rules = Ruleset((1 << _FILE_ACCESSES.get(version, 16)) - 1, 3, 3)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    file = system_call(CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        system_call(RESTRICT_SELF, ctypes.c_int(file), ctypes.c_uint32(0))
    finally:
        os.close(file)
