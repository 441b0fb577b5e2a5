"""Published numbers: rows of instances as any sweep has them, or one row of totals for each tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repairsolver.errors import ReportError
from repairsolver.report.sweep import ALIASES, QUALITIES, Sweep, number, read_rows, sweep_of

NAMES = ("run", "tool", "method", "name")
"""What the column with the names of tools may be called."""

TOTALS = ("instances", "solved", "wrong", "median s", "total s")
"""Columns of the summary that totals may fill; `_` may stand for the blank."""


@dataclass(frozen=True, slots=True)
class Published:
    """Totals of one tool.

    Args:
        name: how tables and plots call it.
        numbers: by the names in `TOTALS` and `QUALITIES`.
        source: where they were published, if the file says.
    """

    name: str
    numbers: Mapping[str, float]
    source: str = ""

    def mean(self, quality: str) -> float | None:
        """The share that was published, if it was."""
        return self.numbers.get(quality)


def read_published(path: Path) -> tuple[list[Sweep], list[Published]]:
    """Published numbers of one file: rows of instances, by tool where a column names it, or totals.

    Raises:
        ReportError: neither answers nor totals are in it.
        OSError: it cannot be read.
    """
    rows = read_rows(path)
    tool = next((name for name in NAMES if name in rows[0]), None)
    if any(name in rows[0] for name in ALIASES["status"]):
        groups: dict[str, list[Mapping[str, str]]] = {}
        for row in rows:
            groups.setdefault((row.get(tool) or path.stem) if tool else path.stem, []).append(row)
        return [sweep_of(group, name, path) for name, group in groups.items()], []
    if tool is None:
        raise ReportError(
            f"{path}: neither a column of answers ({', '.join(ALIASES['status'])}) nor one of names "
            f"({', '.join(NAMES)}) for totals; got {', '.join(map(str, rows[0]))}"
        )
    return [], [_totals(row, tool, line, path) for line, row in enumerate(rows, start=2)]


def _totals(row: Mapping[str, str], tool: str, line: int, path: Path) -> Published:
    known: Sequence[str] = (*TOTALS, *QUALITIES)
    numbers = {}
    for column, text in row.items():
        what = str(column).replace("_", " ")
        if what not in known or not (text or "").strip():
            continue
        value = number(text)
        if value is None or (what in QUALITIES and abs(value) > 1):
            expected = "a share from 0 to 1" if what in QUALITIES else "a number"
            raise ReportError(f"{path}, line {line}: {column}: expected {expected}, got {text!r}")
        numbers[what] = value
    if not numbers:
        raise ReportError(f"{path}, line {line}: no numbers; the columns are {', '.join(known)}")
    return Published(row[tool], numbers, (row.get("source") or "").strip())
