"""Who runs tasks. A new executor is one file here and one line in `EXECUTORS`."""

from __future__ import annotations

from collections.abc import Callable

from repairsolver.errors import ExperimentError
from repairsolver.executors.executor import Executor
from repairsolver.executors.local import Local
from repairsolver.executors.ray import on_ray

EXECUTORS: dict[str, Callable[[int, str], Executor]] = {
    "local": lambda jobs, address: Local(jobs),
    "ray": on_ray,
}
"""By name: (how many tasks at once, address of a cluster or "") -> executor."""


def make_executor(name: str, jobs: int, address: str = "") -> Executor:
    """The executor of that name.

    Raises:
        ExperimentError: there is none, it cannot be had here, or fewer than one task at once was asked for.
    """
    if name not in EXECUTORS:
        raise ExperimentError(f"no executor is called {name!r}: known are {', '.join(EXECUTORS)}")
    if jobs < 1:
        raise ExperimentError(f"jobs must be at least 1, got {jobs}")
    return EXECUTORS[name](jobs, address)


__all__ = ["EXECUTORS", "Executor", "make_executor"]
