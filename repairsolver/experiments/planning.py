"""From instances to tasks, and from outcomes to rows."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from repairsolver import __version__
from repairsolver.errors import ExperimentError
from repairsolver.experiments.folder import COLUMNS, Folder, Row, cell, file_name
from repairsolver.experiments.instances import Instance
from repairsolver.experiments.options import mode_of
from repairsolver.experiments.task import DONE, Outcome, Task

OVERTIME, OVERTIME_SHARE = 10.0, 0.1
"""Seconds, and share of the limit, that an instance has beyond it to read and write; then it is killed."""

LARGEST_BOUNDING = 4.0
"""Gigabytes that bounding may hold at once, where neither an option nor the memory of a process says less."""


class Plan:
    """Makes tasks of instances."""

    def __init__(self, folder: Folder, mode: str, timeout: float | None, memory_gb: float | None) -> None:
        self.folder, self.mode, self.timeout, self.memory_gb = folder, mode, timeout, memory_gb
        self._hashes: dict[Path, str] = {}

    def task(self, one: Instance) -> tuple[Instance, Task]:
        """The task of an instance, under a name that holds the hash of everything that it depends on."""
        seconds = one.timeout if one.timeout is not None else self.timeout
        bounding = LARGEST_BOUNDING if self.memory_gb is None else min(LARGEST_BOUNDING, self.memory_gb / 2)
        files = {slot: [str(path) for path in paths] for slot, paths in one.files.items()}
        options = {"options": dict(one.options), "timeout": seconds, "memory_gb": bounding}
        depends = {
            "repairsolver": __version__, "mode": self.mode, "memory": self.memory_gb, "options": options,
            "files": {slot: [self._hash(path) for path in paths] for slot, paths in one.files.items()},
        }  # fmt: skip
        sha256 = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        return one, Task(
            file_name(*one.names, sha256),
            mode_of(self.mode).body,
            files,
            options | {"inputs": {slot: files[slot] for slot in ("network", "property")}, "sha256": sha256},
            str(self.folder.instances / f"{file_name(*one.names, sha256)}.part"),
            None if seconds is None else seconds * (1 + OVERTIME_SHARE) + OVERTIME,
            None if self.memory_gb is None else round(self.memory_gb * 1e9),
        )

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            with path.open("rb") as file:
                self._hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[path]

    def tasks(self, listed: Sequence[Instance]) -> dict[str, tuple[Instance, Task]]:
        """All tasks by name.

        Raises:
            ExperimentError: two rows ask the same of files with the same content.
        """
        found: dict[str, tuple[Instance, Task]] = {}
        for one, task in map(self.task, listed):
            if task.name in found:
                raise ExperimentError(
                    f"lines {found[task.name][0].line} and {one.line} ask the same of files with the same "
                    "content: take one of them out"
                )
            found[task.name] = one, task
        return found


def row_of(one: Instance, task: Task, outcome: Outcome) -> Row:
    """The row of an instance that has ended, however it has."""
    done = outcome.state == DONE
    failed = "timeout" if outcome.reason == "time" else "error"
    row = {
        "onnx": one.names[0],
        "vnnlib": one.names[1],
        "timeout": task.options["timeout"],
        "options": " ".join(f"{n}={v}" for n, v in sorted(one.options.items()) if n != "seed"),
        "expected": one.expected,
        "seed": one.options["seed"],
        "date": now(),
        "folder": task.name,
        "sha256": task.options["sha256"],
        "cpu_seconds": outcome.cpu_seconds,
        "peak_gb": None if outcome.peak_memory is None else outcome.peak_memory / 1e9,
        "reason": outcome.reason,
    }
    said = outcome.record if done else {
        "result": failed, "seconds": outcome.seconds, "message": outcome.message,
    }  # fmt: skip
    row |= {name: value for name, value in said.items() if name in COLUMNS}
    return {name: cell(row.get(name)) for name in COLUMNS}


def now() -> str:
    """The date and time, as ISO 8601 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
