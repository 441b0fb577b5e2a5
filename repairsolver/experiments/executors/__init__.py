"""Who runs tasks. A new executor is one file here and one line in `EXECUTORS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from repairsolver.errors import ExperimentError
from repairsolver.experiments.executors.local import Local
from repairsolver.experiments.task import Outcome, Task


class Executor(Protocol):
    """Runs tasks, several at once, each in a process of its own with one thread.

    `run` draws a task only when there is a place for it, and tells outcomes as they come, in any order. When
    an outcome is told, the files of its task are in the task's folder. A task that dies, or is killed at its
    limits of time or memory, has an outcome like any other and harms no other. Closing the iterator ends
    what still runs.
    """

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]: ...


EXECUTORS: dict[str, Callable[[int, str], Executor]] = {"local": lambda jobs, address: Local(jobs)}
"""By name: (how many tasks at once, address of a cluster or "") -> executor."""


def make_executor(name: str, jobs: int, address: str = "") -> Executor:
    """The executor of that name.

    Raises:
        ExperimentError: there is none, or fewer than one task at once was asked for.
    """
    if name not in EXECUTORS:
        raise ExperimentError(f"no executor is called {name!r}: known are {', '.join(EXECUTORS)}")
    if jobs < 1:
        raise ExperimentError(f"jobs must be at least 1, got {jobs}")
    return EXECUTORS[name](jobs, address)
