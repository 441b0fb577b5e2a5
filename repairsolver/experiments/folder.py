"""The folder of a sweep.

run.json       what was asked, versions, seed, machine, start and end of every run
results.csv    one row for each instance, on disk as soon as it is told
replaced.csv   rows whose files or options have changed since, or that were run again
instances/     the files of each instance: result.json, network, certificate, counterexample, log
lock           held by the sweep that runs
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repairsolver.errors import ExperimentError
from repairsolver.targets import replacing

COLUMNS = (
    "onnx", "vnnlib", "timeout", "options", "result", "seconds", "prepare_seconds", "process_seconds",
    "cpu_seconds", "peak_gb",
    "expected", "proved", "margin", "bound", "proved_volume", "boxes", "methods", "measure", "cost",
    "lower_bound", "gap", "changed", "rounds", "agreement", "region_agreement", "drawdown", "efficacy",
    "generalisation", "certificate", "reason", "message", "seed", "date", "folder", "sha256",
)  # fmt: skip
"""Of results.csv; `sha256` is of everything that an instance's result depends on."""

SCHEMA = 1
LONGEST_NAME, LONGEST_MESSAGE = 80, 2000

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of a sweep."""

    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run.json"

    @property
    def results(self) -> Path:
        return self.path / "results.csv"

    @property
    def replaced(self) -> Path:
        return self.path / "replaced.csv"

    @property
    def instances(self) -> Path:
        return self.path / "instances"

    def told(self) -> dict[str, Any] | None:
        """What run.json says, if it is there.

        Raises:
            ExperimentError: it is not of a sweep.
        """
        try:
            told = json.loads(self.run.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise ExperimentError(
                f"{self.run}: not JSON ({error}): is this the folder of a sweep?"
            ) from error
        if (
            not isinstance(told, dict)
            or told.get("schema") != SCHEMA
            or not isinstance(told.get("runs"), list)
        ):
            raise ExperimentError(f"{self.run}: not of a sweep of this version; choose another folder")
        return told

    def tell(self, content: Mapping[str, Any]) -> None:
        """Write run.json; it is whole at any moment."""
        _replace(self.run, json.dumps(content, indent=1).encode() + b"\n")

    def rows(self) -> list[Row]:
        """The rows of results.csv; a last one that was not written whole is cut off."""
        if not self.results.exists():
            return []
        content = self.results.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        rows = list(csv.DictReader(io.StringIO(whole.decode("utf-8"), newline="")))
        if rows and tuple(rows[0]) != COLUMNS:
            raise ExperimentError(
                f"{self.results}: other columns than this version writes; choose another folder"
            )
        if len(whole) < len(content):
            with self.results.open("rb+") as file:
                file.truncate(len(whole))
        return rows

    def begin(self, rows: list[Row], replaced: list[Row]) -> None:
        """Start results.csv with these rows; what they replace is kept beside it."""
        if replaced:
            head = "" if self.replaced.exists() else _line(COLUMNS)
            _append(self.replaced, head + "".join(_line([row[c] for c in COLUMNS]) for row in replaced))
        lines = [COLUMNS, *([row[c] for c in COLUMNS] for row in rows)]
        _replace(self.results, "".join(map(_line, lines)).encode())

    def add(self, row: Row) -> None:
        """Append a row; it is on disk when this returns."""
        _append(self.results, _line([row[c] for c in COLUMNS]))

    def clear(self) -> None:
        """Remove the files of instances that have not ended."""
        self.instances.mkdir(parents=True, exist_ok=True)
        for left in self.instances.glob("*.part"):
            shutil.rmtree(left, ignore_errors=True)

    def part(self, name: str) -> Path:
        """An empty folder for the files of an instance under way."""
        path = self.instances / f"{name}.part"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def finish(self, name: str) -> None:
        """Let the files of an instance appear, in the place of older ones."""
        final = self.instances / name
        shutil.rmtree(final, ignore_errors=True)
        os.replace(self.instances / f"{name}.part", final)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other sweeps out.

        Raises:
            ExperimentError: one is running there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ExperimentError(f"{self.path}: another sweep is running there") from None
            yield


def file_name(network: str, prop: str, sha256: str) -> str:
    """The name of an instance's folder: what it is about, and eight digits of its hash."""
    words = f"{_stem(network)}-{_stem(prop)}"
    return f"{re.sub(r'[^A-Za-z0-9._+-]+', '_', words)[:LONGEST_NAME].lstrip('.')}-{sha256[:8]}"


def cell(value: object) -> str:
    """A value as results.csv has it: floats in full, nothing as "", on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    return " | ".join(str(value).splitlines())[:LONGEST_MESSAGE]


def _stem(name: str) -> str:
    stem = Path(name.partition(";")[0]).name
    for ending in (".gz", ".onnx", ".nnet", ".vnnlib"):
        stem = stem.removesuffix(ending)
    return stem


def _line(cells: object) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
    return stream.getvalue()


def _append(path: Path, text: str) -> None:
    """In one piece, on disk when this returns; where there is no room, nothing of it."""
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab", buffering=0) as file:
            file.write(text.encode())
            os.fsync(file.fileno())
    except OSError:
        if path.exists():
            os.truncate(path, before)
        raise


def _replace(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
