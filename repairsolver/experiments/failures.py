"""Why a piece of work failed, in one word and one message."""

from __future__ import annotations

import errno

from repairsolver.errors import RepairSolverError, SoundnessError

NO_MEMORY = ("can't allocate memory", "bad_alloc", "Failed to allocate memory", "Cannot allocate memory")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LONGEST = 20_000


def failure(error: Exception) -> tuple[str, str]:
    """The reason, `input`, `memory`, `disk`, `soundness` or `internal` (which is a bug), and the message."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        return "memory", "it needs more memory than it may use"
    if isinstance(error, OSError) and error.errno in FULL:
        return "disk", text
    if isinstance(error, SoundnessError):
        return "soundness", text[:LONGEST]
    if isinstance(error, RepairSolverError | RecursionError | UnicodeDecodeError | FileNotFoundError):
        return "input", text[:LONGEST]
    return "internal", f"{type(error).__name__}: {text}"[:LONGEST]
