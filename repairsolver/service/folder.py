"""The files of one job: what was uploaded, how it goes, and what it made.

request.json   kind, options and files, written once, before the job exists
inputs/        the uploaded files, under names of ours
lock           held as long as the job's process lives; holds its process number
events.jsonl   one progress event a line
search.tree    of a verification under way
results/       appears as a whole: outcome.json, result.json, report.html and files
log.txt        what libraries print
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repairsolver.results import Event

STOPPED, NO_ROOM = 75, 74
"""Exit codes of a job: stopped without being cancelled, so that it goes on later; and: the disk is full."""

OUTCOME, RESULT, REPORT = "outcome.json", "result.json", "report.html"


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one job."""

    path: Path

    @property
    def inputs(self) -> Path:
        return self.path / "inputs"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def unfinished(self) -> Path:
        """What becomes `results` at the end."""
        return self.path / "results.part"

    @property
    def tree(self) -> Path:
        return self.path / "search.tree"

    @property
    def cancelled(self) -> Path:
        """Its presence says that whoever stops the job wants what was reached."""
        return self.path / "cancelled"

    def request(self) -> dict[str, Any]:
        """What was asked."""
        told: dict[str, Any] = json.loads((self.path / "request.json").read_text(encoding="utf-8"))
        return told

    def outcome(self) -> dict[str, Any] | None:
        """How the job ended, if it did."""
        try:
            told: dict[str, Any] = json.loads((self.results / OUTCOME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return told

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Let the results appear, with how the job ended; on disk before they have their name."""
        self.unfinished.mkdir(exist_ok=True)
        write_file(self.unfinished / OUTCOME, json.dumps(dict(outcome)).encode())
        sync(self.unfinished)
        os.replace(self.unfinished, self.results)
        sync(self.path)

    def begin(self) -> None:
        """Make room for the results, and cut off an event that was not written whole."""
        shutil.rmtree(self.unfinished, ignore_errors=True)
        self.unfinished.mkdir()
        if self.events.exists():
            with self.events.open("rb+") as file:
                file.truncate(file.read().rfind(b"\n") + 1)

    def made(self) -> list[str]:
        """The names of the files that can be fetched."""
        if not self.results.is_dir():
            return []
        return sorted(p.name for p in self.results.iterdir() if p.is_file() and p.name != OUTCOME)

    def alive(self) -> bool:
        """Whether the job's process lives: whether its lock is held."""
        try:
            handle = os.open(self.path / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def process(self) -> int | None:
        """The number of the process that holds, or held, the lock."""
        try:
            return int((self.path / "lock").read_text() or 0) or None
        except (FileNotFoundError, ValueError):
            return None


def take_lock(folder: Folder) -> int | None:
    """An open file that holds the lock of a job until it is closed everywhere; None if it is held already."""
    handle = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def event_line(event: Mapping[str, Any]) -> bytes:
    """An event as it is kept: one line of JSON."""
    return json.dumps(event, allow_nan=False).encode() + b"\n"


def write_file(path: Path, content: bytes) -> None:
    """Write a file that is on disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Have the names in a folder on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class EventFile:
    """Appends the events of a run that are worth keeping to a job's folder."""

    def __init__(self, folder: Folder) -> None:
        from repairsolver.report.history import Thinning

        self._file = folder.events.open("ab", buffering=0)
        self._thinning = Thinning()

    def __call__(self, event: Event) -> None:
        from repairsolver.report.history import event_record

        if self._thinning.keeps(event):
            self._file.write(event_line(event_record(event)))

    def close(self) -> None:
        self._file.close()
