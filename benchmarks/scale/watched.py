"""An executor that notes what passes through it, and the processor time of all that works for a run."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from repairsolver.executors import Executor
from repairsolver.executors.task import Outcome, Task

NOTHING = f"{__name__}:nothing"


def nothing(files: object, options: object, folder: object) -> dict[str, object]:
    """The body of an empty task."""
    return {}


@dataclass(slots=True)
class Passage:
    """One task: its place in the order, what it took, and what the driver spent on it.

    Args:
        sent, returned: bytes of its own files (a packet), and of those that it left.
        cpu_seconds, seconds: of the worker, by its processor and by the clock.
        driver_seconds: of the driver's processor, from its return to when the next one is waited for.
        parent: the packet that it is the rest of, if that is noted.
    """

    name: str
    sent: int = 0
    returned: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    record: dict[str, Any] = field(default_factory=dict)
    driver_seconds: float = 0.0
    parent: str = ""


class Watched(Executor):
    """Another executor's work, noted; its places are started before the clock by `warm`.

    Args:
        boxes: also keep packets, to tell at the end which came from which.
    """

    def __init__(self, inner: Executor, *, boxes: bool = False) -> None:
        self.jobs, self._inner, self.passages = inner.jobs, inner, dict[str, Passage]()
        self._packets: dict[str, bytes] | None = {} if boxes else None
        self._last: tuple[Passage, float] | None = None

    def warm(self, folder: Path) -> None:
        """Have one empty task done at every place at once, so that all are there."""
        for number in range(self.jobs):
            own = folder / str(number)
            own.mkdir(parents=True)
            self._inner.start(Task(f"warm-{number}", NOTHING, {}, {}, str(own)))
        for _ in range(self.jobs):
            self._inner.ended()

    def start(self, task: Task) -> None:
        """See `Executor`."""
        sent = sum(Path(path).stat().st_size for path in task.files.get("packet", []))
        self.passages[task.name] = Passage(task.name, sent)
        if self._packets is not None:
            self._packets[task.name] = Path(task.files["packet"][0]).read_bytes()
        self._inner.start(task)

    def ended(self) -> tuple[Task, Outcome]:
        """See `Executor`."""
        self._note()
        task, outcome = self._inner.ended()
        passage = self.passages[task.name]
        passage.cpu_seconds = outcome.cpu_seconds or 0.0
        passage.seconds = outcome.seconds or 0.0
        passage.record = dict(outcome.record)
        passage.returned = sum(p.stat().st_size for p in Path(task.folder).rglob("*") if p.is_file())
        self._last = passage, time.process_time()
        return task, outcome

    def close(self) -> None:
        """What it started is ended by `end`, so that its processor time can be read before."""
        self._note()

    def end(self) -> None:
        """End everything."""
        self._inner.close()

    def find_parents(self) -> None:
        """A packet's parent is the last one before it with a box of its query that its first box lies in."""
        before: dict[str, tuple[Any, Any, Any]] = {}
        for name, packet in (self._packets or {}).items():
            with np.load(io.BytesIO(packet)) as stored:
                query, lower, upper = (stored[f"open_{part}"] for part in ("query", "lower", "upper"))
            for other, (which, low, high) in before.items():
                inside = ((low <= lower[0]) & (upper[0] <= high)).all(axis=1) & (which == query[0])
                if inside.any():
                    self.passages[name].parent = other
            before[name] = query, lower, upper

    def _note(self) -> None:
        if self._last is not None:
            passage, begun = self._last
            passage.driver_seconds = time.process_time() - begun
        self._last = None


def descendants_seconds() -> float:
    """Processor seconds of all processes that this one started, with those that they have seen end."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total
