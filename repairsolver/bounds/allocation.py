"""How the C library treats the memory of batched bounds: what is freed stays with the process.

Bounding a batch allocates and frees arrays of some megabytes all the time. By default glibc gives each of
them back to the system, which then hands out, and clears, the same pages anew: a third of the time. Kept,
they are used again at once; the most that a process holds at a time does not change.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache

# Of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

MAPPED = 32 * 2**20
"""Bytes from which an array is mapped by itself; the most that glibc accepts."""

HELD = 512 * 2**20
"""Freed bytes at the end of the heap above which memory is given back."""

SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_ARENA_MAX")


@cache
def hold_freed_memory() -> bool:
    """Ask the C library, once in a process, to keep what is freed; whether it does.

    Only glibc is asked, and only where the user has not set it up himself by the variables `SETTINGS` or by
    `GLIBC_TUNABLES`.
    """
    chosen = any(name in os.environ for name in SETTINGS)
    chosen = chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if chosen or sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(M_MMAP_THRESHOLD, MAPPED) and library.mallopt(M_TRIM_THRESHOLD, HELD))
