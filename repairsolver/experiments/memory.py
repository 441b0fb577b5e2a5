"""Memory of processes: what one holds, and the most that it may."""

from __future__ import annotations

import os
import resource

SLACK = 2**30
"""What the kernel grants beyond the limit: what is used is watched, this stops one great step."""


def limit_memory(memory: int) -> None:
    """Let this process hold no more than so many bytes, and leave no core dump."""
    for what, most in ((resource.RLIMIT_DATA, memory + SLACK), (resource.RLIMIT_CORE, 0)):
        limit(what, most)


def limit(what: int, most: int) -> None:
    """Lower a limit of this process, if it is not that low."""
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def resident(process: int | None) -> int:
    """Bytes of memory that a process holds, 0 where the system does not tell (it is not Linux)."""
    try:
        with open(f"/proc/{process}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
