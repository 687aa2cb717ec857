"""Limits on the process, its privileges, and who may look into it."""

import resource

from deployments.preprocess.confine.system import prctl

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38


def few_resources() -> None:
    """No core dumps, few files, no children."""
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 32), (resource.RLIMIT_NPROC, 0)):
        resource.setrlimit(limit, (value, value))


def no_new_privileges() -> None:
    """What it starts, if it could, would have no more rights than it has."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def not_dumpable() -> None:
    """Other processes of the same user, other decoders among them, cannot read its memory."""
    prctl(PR_SET_DUMPABLE, 0)
