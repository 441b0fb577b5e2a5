"""What a sweep made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from repairsolver.display import table_html
from repairsolver.experiments.folder import Row
from repairsolver.results import counted

if TYPE_CHECKING:
    from repairsolver.report.sweep import Sweep

MOST_SHOWN = 40
"""Rows that a notebook shows."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """What a sweep made.

    Args:
        folder: where all of it is.
        rows: of `results.csv`, those kept from earlier runs first.
        ran, kept: how many rows are of this run, and how many of earlier ones.
        total: how many instances the list has.
        seconds: of this run.
    """

    folder: Path
    rows: tuple[Row, ...]
    ran: int
    kept: int
    total: int
    seconds: float

    @cached_property
    def sweep(self) -> Sweep:
        """The rows for tables and plots."""
        from repairsolver.report.sweep import read_sweep

        return read_sweep(self.folder)

    @property
    def wrong(self) -> list[Row]:
        """Rows that contradict the verdict that the list knows, or their own check."""
        known = {"holds": "sat", "violated": "unsat"}
        return [r for r in self.rows if known.get(r["expected"]) == r["result"] or r["reason"] == "soundness"]

    def __repr__(self) -> str:
        words = [row["result"] for row in self.rows]
        counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        return (
            f"<Experiment in {self.folder}: {len(self.rows)} of {counted(self.total, 'instance')}: {counts}; "
            f"{self.ran} run now in {self.seconds:.1f} s, {self.kept} kept>"
        )

    def _repr_html_(self) -> str:
        words = [row["result"] for row in self.rows]
        head = (
            "onnx",
            "vnnlib",
            "options",
            "result",
            "seconds",
            "margin",
            "cost",
            "lower_bound",
            "agreement",
        )
        told = [name for name in head if any(row[name] for row in self.rows)]
        caption = f"{len(self.rows)} of {counted(self.total, 'instance')}: " + ", ".join(
            f"{words.count(word)} {word}" for word in dict.fromkeys(words)
        )
        rows = [[_number(row[name]) for name in told] for row in self.rows[:MOST_SHOWN]]
        more = len(self.rows) - MOST_SHOWN
        rest = f"<p>and {more} more in {escape(str(self.folder))}/results.csv</p>" if more > 0 else ""
        return table_html(caption, told, rows) + rest


def _number(text: str) -> float | str:
    """A number with six digits when shown; other text as it is."""
    try:
        return float(text)
    except ValueError:
        return text
