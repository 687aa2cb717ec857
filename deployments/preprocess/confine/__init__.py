"""What Linux lets a process without rights give up of its own: done once, before the first stranger's file.

No library is needed: ``prctl`` and three system calls by ctypes. What the kernel does not offer is left out and told.
"""

from collections.abc import Callable

from deployments.preprocess.confine import landlock, limits, seccomp

MEASURES: dict[str, Callable[[], None]] = {
    "limits": limits.few_resources,
    "no new privileges": limits.no_new_privileges,
    "memory closed to others": limits.not_dumpable,
    "Landlock": landlock.no_files_no_network,
    "seccomp": seccomp.few_system_calls,
}
"""In this order: each of the last two needs those before it, and seccomp forbids what the others call."""


def confine() -> tuple[str, ...]:
    """The names of those that are in force now."""
    return tuple(name for name, measure in MEASURES.items() if _done(measure))


def _done(measure: Callable[[], None]) -> bool:
    try:
        measure()
    except (OSError, NotImplementedError):
        return False
    return True
