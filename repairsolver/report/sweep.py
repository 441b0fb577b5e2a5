"""Sweeps: rows of many (network, property) pairs from CSV files, of this tool or of others."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from repairsolver.errors import ReportError

ALIASES = {
    "status": ("status", "verdict", "result", "answer"),
    "seconds": ("seconds", "time", "total_seconds", "seconds_total", "solve_seconds"),
    "network": ("network", "onnx", "model"),
    "property": ("property", "vnnlib"),
    "timeout": ("timeout", "limit"),
}
"""What columns are called here, and what they may be called in a file."""

KEYS = ("network", "property", "instance", "set", "id", "layer", "corruption", "radius", "balls", "box", "k",
        "sample", "number", "case", "points", "width", "classes", "norm")  # fmt: skip
"""Columns that say which instance a row is about."""

DECIDED = {"holds", "violated", "unsat", "sat", "repaired", "infeasible", "valid", "optimal"}
SAME = {"unsat": "holds", "sat": "violated"}
QUALITIES = ("agreement", "efficacy", "generalisation", "drawdown", "accuracy")
"""Shares from 0 to 1 that rows of repairs carry."""

VNN_COMP = ("category", "onnx", "vnnlib", "prepare_time", "result", "time")
"""Columns of the files of results of VNN-COMP."""

MOST_ROWS = 1_000_000

ROWS = "results.csv"
"""The rows in a folder of `bench`."""


@dataclass(frozen=True)
class Instance:
    """One row.

    Args:
        key: which instance, in the order of `KEYS`.
        status: the answer's word.
        seconds: None where the row tells none.
        timeout: seconds that were allowed, if the row tells.
        wrong: the row tells another answer to be the right one.
        shares: the qualities that the row tells.
        cost, lower_bound: of a repair, where the row tells them: no repair costs less than the bound.
        asked: what they are of: the measure and the options, as the row has them.
    """

    key: tuple[str, ...]
    status: str
    seconds: float | None
    timeout: float | None
    wrong: bool
    shares: Mapping[str, float]
    cost: float | None = None
    lower_bound: float | None = None
    asked: tuple[str, str] = ("", "")

    @property
    def answer(self) -> str:
        """The status, `holds` and `violated` for VNN-COMP's `unsat` and `sat`."""
        return SAME.get(self.status, self.status)

    @property
    def decided(self) -> bool:
        return self.status in DECIDED and not self.wrong

    @property
    def solved(self) -> bool:
        """Decided, in a time that is known."""
        return self.decided and self.seconds is not None


@dataclass(frozen=True)
class Sweep:
    """All rows of one file.

    Args:
        name: how tables and plots call it.
        keys: the columns of every instance's key.
    """

    name: str
    keys: tuple[str, ...]
    instances: tuple[Instance, ...]

    @cached_property
    def by_key(self) -> dict[tuple[str, ...], Instance]:
        """The last row of every instance."""
        return {instance.key: instance for instance in self.instances}

    @property
    def timed(self) -> bool:
        """Whether any row tells its seconds."""
        return any(i.seconds is not None for i in self.instances)

    @property
    def times(self) -> list[float]:
        """Seconds of what was solved, ascending."""
        return sorted(i.seconds for i in self.instances if i.solved and i.seconds is not None)

    def mean(self, quality: str) -> float | None:
        """The mean of a share over the rows that tell it."""
        values = [i.shares[quality] for i in self.instances if quality in i.shares]
        return sum(values) / len(values) if values else None


def read_sweep(path: Path, name: str | None = None) -> Sweep:
    """The rows of a CSV file with a head, or of a folder of `bench`, which holds one.

    Columns are recognised by name, see `ALIASES` and `KEYS`.

    Raises:
        ReportError: no rows, or no column of answers.
        OSError: it cannot be read.
    """
    if path.is_dir():
        path, name = path / ROWS, name or path.resolve().name
    return sweep_of(read_rows(path), name or _name(path), path)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by the names of their columns; VNN-COMP's files of results need no head.

    Raises:
        ReportError: it is no CSV file, or has no rows.
        OSError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = next(csv.reader(file), [])
            file.seek(0)
            reader = csv.DictReader(file, VNN_COMP if _is_vnn_comp(first) else None)
            rows = [row for _, row in zip(range(MOST_ROWS), reader, strict=False)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: not a CSV file: {error}") from error
    if not rows:
        raise ReportError(f"{path}: holds no rows")
    return rows


def sweep_of(rows: Sequence[Mapping[str, str]], name: str, path: Path) -> Sweep:
    """Rows as a sweep.

    Args:
        path: where they are from, for messages.

    Raises:
        ReportError: no column of answers.
    """
    columns = {what: next((c for c in names if c in rows[0]), None) for what, names in ALIASES.items()}
    if columns["status"] is None:
        raise ReportError(
            f"{path}: no column of answers; expected one of {', '.join(ALIASES['status'])}, "
            f"got {', '.join(map(str, rows[0]))}"
        )
    keys = tuple(k for k in KEYS if (columns.get(k) or k) in rows[0])
    instances = tuple(_instance(row, columns, keys, place) for place, row in enumerate(rows))
    return Sweep(name, keys or ("row",), instances)


def _is_vnn_comp(first: Sequence[str]) -> bool:
    """Whether a first row is one of results already, with numbers where VNN-COMP has seconds."""
    return len(first) == len(VNN_COMP) and number(first[3]) is not None and number(first[5]) is not None


def shared(sweeps: Sequence[Sweep]) -> list[tuple[str, ...]]:
    """Instances that are in every sweep, in the order of the first.

    Raises:
        ReportError: the sweeps have no instance in common, or name them by other columns.
    """
    first, *others = sweeps
    for other in others:
        if other.keys != first.keys:
            raise ReportError(
                f"{first.name} names its instances by {', '.join(first.keys)}, {other.name} by "
                f"{', '.join(other.keys)}: give files with the same of these columns"
            )
    both = [key for key in first.by_key if all(key in other.by_key for other in others)]
    if not both:
        raise ReportError(f"{', '.join(s.name for s in sweeps)}: no instance is in all of them")
    return both


def _instance(
    row: Mapping[str, str], columns: Mapping[str, str | None], keys: Sequence[str], place: int
) -> Instance:
    def told(what: str) -> str:
        return (row.get(columns.get(what) or what) or "").strip()

    status, expected = told("status").lower(), told("expected").lower()
    wrong = expected in ("holds", "violated") and SAME.get(status, status) in {"holds", "violated"} - {
        expected
    }
    shares = {q: value for q in QUALITIES if (value := number(told(q))) is not None}
    key = tuple(told(k) for k in keys) if keys else (str(place),)
    return Instance(
        key, status, number(told("seconds")), number(told("timeout")), wrong, shares,
        number(told("cost")), number(told("lower_bound")), (told("measure"), told("options")),
    )  # fmt: skip


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None


def _name(path: Path) -> str:
    """`family/file` for `benchmarks/family/results/file.csv`; else the file's stem."""
    return f"{path.parents[1].name}/{path.stem}" if path.parent.name == "results" else path.stem
