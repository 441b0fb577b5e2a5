"""Reports of sweeps: tables and plots of one or several CSV files as one page, and the tables as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repairsolver.errors import ReportError
from repairsolver.report import tables
from repairsolver.report.figure import picture
from repairsolver.report.page import render
from repairsolver.report.plots import sweep_pictures
from repairsolver.report.sweep import ROWS, Sweep, read_sweep
from repairsolver.report.tables import Table
from repairsolver.targets import file_target

if TYPE_CHECKING:
    from repairsolver.report.comparison import Comparison

MOST_LISTED = 400
"""Instances that a page lists."""


def are_sweeps(results: Sequence[Path]) -> bool:
    """Whether these are CSV files of many rows, or folders of `bench`, which hold one; else one result.

    Raises:
        ReportError: a mixture, or several single results.
    """
    kinds = {path.suffix.lower() == ".csv" or (path / ROWS).is_file() for path in results}
    if len(kinds) > 1 or (kinds == {False} and len(results) > 1):
        raise ReportError(
            f"{', '.join(map(str, results))}: expected one result (JSON, or a folder with result.json) or "
            "CSV files (or folders of `bench`); make one report for each result"
        )
    return kinds == {True}


def read_sweeps(paths: Sequence[Path]) -> list[Sweep]:
    """The sweeps, each by a name of its own."""
    sweeps = [read_sweep(path) for path in paths]
    names = [s.name for s in sweeps]
    if len(set(names)) == len(names):
        return sweeps
    return [read_sweep(path, str(path if path.is_dir() else path.with_suffix(""))) for path in paths]


def sweep_page(sweeps: Sequence[Sweep], timeout: float | None = None) -> str:
    """The report of sweeps, as HTML.

    Raises:
        ReportError: several sweeps without a common instance.
    """
    return render(
        "sweep.html",
        title="One run" if len(sweeps) == 1 else f"{len(sweeps)} runs compared",
        names=[s.name for s in sweeps],
        sentences=[],
        tables=[
            _shown("Summary", tables.summary(sweeps)),
            _shown("Every instance", tables.instances(sweeps)),
        ],
        pictures=sweep_pictures(sweeps, timeout),
    )


def comparison_page(made: Comparison, timeout: float | None = None) -> str:
    """The page of a comparison: what contradicts, all tables and plots."""
    return render(
        "sweep.html",
        title=f"{len(made.sweeps) + len(made.published)} runs compared",
        names=[s.name for s in made.sweeps] + [tool.name for tool in made.published],
        sentences=list(made.sentences()),
        tables=[_shown("Summary", made.summary), _shown("Every instance", made.instances)],
        pictures=[picture(*drawn) for drawn in made.figures(timeout)],
    )


def write_tables(sweeps: Sequence[Sweep], folder: Path) -> list[Path]:
    """Write both tables as `.csv` and `.tex`; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, table in (("summary", tables.summary(sweeps)), ("instances", tables.instances(sweeps))):
        for form, ending in (("csv", "csv"), ("latex", "tex")):
            path = file_target(folder / f"{name}.{ending}")
            path.write_text(tables.written(table, "csv" if form == "csv" else "latex"), encoding="utf-8")
            made.append(path)
    return made


def _shown(title: str, table: Table) -> dict[str, Any]:
    rows = tables.shown(table)
    return {
        "title": title,
        "caption": table.caption,
        "head": table.head,
        "rows": rows[:MOST_LISTED],
        "more": max(0, len(rows) - MOST_LISTED),
        "numeric": list(range(table.numeric, len(table.head))),
    }
