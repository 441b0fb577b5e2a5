"""Which seconds a benchmark counts: of the clock, or of the processor where the machine does other things.

With the variable BENCHMARK_CLOCK=processor, limits and measurements of this process count its own processor
time (all its threads together, so give it one). On a quiet machine both are nearly the same for one thread.
Import this module before any of repairsolver.
"""

from __future__ import annotations

import os
import resource
import time

CLOCK = os.environ.get("BENCHMARK_CLOCK", "wall")

if CLOCK not in ("wall", "processor"):
    raise SystemExit(f"BENCHMARK_CLOCK is {CLOCK!r}: leave it out, or set it to processor")

if CLOCK == "processor":
    os.environ["REPAIRSOLVER_THREADS"] = "1"
    time.perf_counter = time.monotonic = time.process_time


def children_seconds() -> float:
    """A reading for the time of programs that were started and have ended."""
    if CLOCK == "wall":
        return time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
