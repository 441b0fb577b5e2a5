"""What every executor keeps to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from repairsolver.executors.task import Outcome, Task

LOST = "lost"


class Executor(ABC):
    """Runs tasks, `jobs` of them at once, each in a process of its own with one thread; see `Task.stays`.

    When a task's outcome is told, its files are in its folder. A task that dies, or is killed at its
    limits of time or memory, has an outcome like any other and harms no other. Whoever loses a worker
    runs its task again, and gives up with the outcome `lost` after a few times.
    """

    jobs: int

    @abstractmethod
    def start(self, task: Task) -> None:
        """Have a task done; at most `jobs` may be under way."""

    @abstractmethod
    def ended(self) -> tuple[Task, Outcome]:
        """Wait until one of those under way has ended, in any order."""

    @abstractmethod
    def close(self) -> None:
        """End what is under way, and give everything back; the next `start` begins anew."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Run all; a task is drawn only when there is a place for it. Closing the iterator ends what runs."""
        waiting, busy = iter(tasks), 0
        try:
            while True:
                while busy < self.jobs and (task := next(waiting, None)) is not None:
                    self.start(task)
                    busy += 1
                if not busy:
                    return
                ended = self.ended()
                busy -= 1
                # before the outcome is told, so that no place is empty while its reader works
                if (task := next(waiting, None)) is not None:
                    self.start(task)
                    busy += 1
                yield ended
        finally:
            self.close()
