"""What every benchmark row carries: the machine and the versions; rows are flushed one by one."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from repairsolver.experiments.machine import described, versions


def machine() -> dict[str, str]:
    """Processor, cores, system, Python and package versions, date; no names of hosts or users."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": described(),
        "versions": " ".join(f"{name}-{version}" for name, version in versions().items()),
    }


class Recorder:
    """A CSV file that grows row by row, so that an interrupted run keeps what it has and can resume.

    Args:
        path: the file; its folder is made.
        columns: the benchmark's own columns; `machine()` and `seed` are added to every row.
        resume: keep the rows of an earlier run (of the same columns) instead of starting anew.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, seed: int = 0, resume: bool = False) -> None:
        self.path = path
        self._facts = {"seed": str(seed), **machine()}
        self._columns = [*columns, *self._facts]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, str]] = read_rows(path) if resume and path.exists() else []
        if self.rows and list(self.rows[0]) != self._columns:
            raise ValueError(
                f"{path} has other columns than this benchmark writes: move it away, or do not resume"
            )
        with path.open("w" if not self.rows else "a", newline="") as file:
            if not self.rows:
                csv.writer(file).writerow(self._columns)

    def add(self, row: Mapping[str, object]) -> None:
        """Append one row and flush it; floats are written in full precision."""
        text = {
            key: repr(float(value)) if isinstance(value, float) else str(value) for key, value in row.items()
        }
        self.rows.append({**text, **self._facts})
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(self.rows[-1])

    def has(self, **key: object) -> bool:
        """Whether a row with these values is there already."""
        return any(all(row[name] == str(value) for name, value in key.items()) for row in self.rows)


def data_folder(family: str) -> Path:
    """The folder of one family in the benchmark data.

    Raises:
        SystemExit: REPAIRSOLVER_DATA is not set, or has no such folder.
    """
    root = os.environ.get("REPAIRSOLVER_DATA")
    if not root or not (Path(root) / family).is_dir():
        raise SystemExit(f"set REPAIRSOLVER_DATA to the benchmark data folder (it must contain {family}/)")
    return Path(root) / family


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a results file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
