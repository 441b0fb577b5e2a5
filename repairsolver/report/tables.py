"""Tables of sweeps, and every form that they are written in, from one function."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from repairsolver.report.published import Published
from repairsolver.report.sweep import QUALITIES, Sweep, shared

Cell = str | int | float | None
Form = Literal["csv", "latex", "text"]

ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    sign: rf"\{sign}" for sign in "&%$#_{}"
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a head.

    Args:
        caption: what it shows.
        numeric: columns that hold numbers, from this one on.
        shares: columns whose numbers are shares, shown as percentages.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: int = 1
    shares: frozenset[int] = frozenset()


def written(table: Table, form: Form) -> str:
    """A table as CSV (full precision), as LaTeX (booktabs), or as text for a terminal."""
    if form == "csv":
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([table.head, *table.rows])
        return stream.getvalue()
    if form == "latex":
        return _latex(table)
    cells = [list(table.head), *shown(table)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.head))]
    lines = [
        "  ".join(
            c.rjust(w) if i >= table.numeric else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([table.caption, *lines]) + "\n"


def shown(table: Table) -> list[list[str]]:
    """The cells as people read them: four digits, percentages, a dash for nothing."""
    return [[_cell(cell, i in table.shares) for i, cell in enumerate(row)] for row in table.rows]


def summary(sweeps: Sequence[Sweep], published: Sequence[Published] = ()) -> Table:
    """One row for each sweep, and for published totals: how much was solved, how fast, and how well."""
    runs: list[Sweep | Published] = [*sweeps, *published]
    told = [q for q in QUALITIES if any(run.mean(q) is not None for run in runs)]
    head = ("run", "instances", "solved", "wrong", "median s", "total s", *told)
    rows = tuple(
        (
            s.name, len(s.instances), len(s.times), sum(i.wrong for i in s.instances),
            median(s.times) if s.times else None, sum(s.times) if s.times else None,
            *(s.mean(q) for q in told),
        )
        for s in sweeps
    )  # fmt: skip
    rows += tuple(
        (p.name, *(p.numbers.get(c) for c in head[1:6]), *(p.mean(q) for q in told)) for p in published
    )
    return Table("Runs: median and total seconds of what was solved; mean shares", head, rows, 1,
                 frozenset(range(6, 6 + len(told))))  # fmt: skip


def instances(sweeps: Sequence[Sweep], *, every: bool = False) -> Table:
    """One row for each instance: answer and seconds of each sweep, and the costs where there are some.

    Args:
        every: also instances that only some sweeps have.
    """
    keys = sweeps[0].keys
    listed = list(dict.fromkeys(k for s in sweeps for k in s.by_key)) if every else shared(sweeps)
    costs = {s.name: any(i.cost is not None for i in s.instances) for s in sweeps}
    told = [(s, what) for s in sweeps for what in ("answer", "s", *(("cost",) if costs[s.name] else ()))]
    rows = tuple((*key, *(_told(s, key, what) for s, what in told)) for key in listed)
    return Table("Instances", (*keys, *(f"{s.name} {what}" for s, what in told)), rows, len(keys))


def _told(sweep: Sweep, key: tuple[str, ...], what: str) -> Cell:
    one = sweep.by_key.get(key)
    if one is None:
        return None
    return {"answer": one.status, "s": one.seconds, "cost": one.cost}[what]


def _latex(table: Table) -> str:
    columns = "l" * table.numeric + "r" * (len(table.head) - table.numeric)
    body = [" & ".join(map(_escaped, row)) + r" \\" for row in shown(table)]
    return "\n".join([
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        rf"\caption{{{_escaped(table.caption)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_escaped, table.head)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(ESCAPES.get(sign, sign) for sign in text)


def _cell(cell: Cell, share: bool) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3%}" if share else f"{cell:.4g}"
    return str(cell)
