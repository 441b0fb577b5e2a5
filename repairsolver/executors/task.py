"""One piece of work that can be done anywhere: what it reads, what it does, what it may spend, how it ended.

Tasks and outcomes are plain JSON, so that every executor can send them to another process or machine.
"""

from __future__ import annotations

import importlib
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repairsolver.executors.failures import failure

Files = Mapping[str, list[str]]
Body = Callable[[Files, Mapping[str, Any], Path], Mapping[str, Any]]
"""A top-level function (files by slot, options, folder) -> record: it reads nothing but the files, writes
nothing but into the folder, and returns plain JSON."""

DONE, FAILED = "done", "failed"
OUTCOME = ".outcome.json"
"""In the task's folder, until it has been told."""


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work.

    Args:
        name: unique among the tasks of a run.
        body: the function that does it, as `module:function`; see `Body`.
        files: paths of all files that it reads, by slot.
        options: plain JSON.
        folder: an existing folder, where its files must be when its outcome is told.
        seconds: when it is killed, or None.
        memory: bytes that it may hold, or None.
        stays: its process may do other tasks of the same body and memory after it, so that what the body
            keeps in memory is there; without, every task has a process of its own.
    """

    name: str
    body: str
    files: Files
    options: Mapping[str, Any]
    folder: str
    seconds: float | None = None
    memory: int | None = None
    stays: bool = False

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), allow_nan=False)

    @staticmethod
    def from_json(text: str | bytes) -> Task:
        return Task(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended.

    Args:
        state: `done` or `failed`.
        record: what the body returned; empty if it failed.
        reason: why it failed: `input`, `memory`, `disk`, `soundness`, `internal` (a bug), `time` (killed at
            its limit), `crashed` (its process died) or `lost` (whoever ran it died, and did so again).
        message: for people.
        seconds, cpu_seconds, peak_memory: of its process; bytes, of one that stayed the most of its life.
            None where that is not known.
    """

    state: str
    record: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    message: str = ""
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None


def perform(task: Task, folder: Path | None = None) -> dict[str, Any]:
    """Do a task here and now: the entries state, record, reason and message of its outcome.

    Errors become a failed outcome, with their traceback on stderr, so that no task ends those beside it.

    Args:
        folder: where its files go, if not to the task's folder.
    """
    try:
        record = dict(body_of(task.body)(task.files, task.options, folder or Path(task.folder)))
        json.dumps(record, allow_nan=False)
        return {"state": DONE, "record": record, "reason": "", "message": ""}
    except Exception as error:  # whatever it is, it is this task's outcome, and its log has the traceback
        traceback.print_exc()
        reason, message = failure(error)
        return {"state": FAILED, "record": {}, "reason": reason, "message": message}


def body_of(name: str) -> Body:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    body: Body = getattr(importlib.import_module(module), function)
    return body
