"""Repaired against kept, by method: `python -m benchmarks.imitation.plot`."""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
MARKS = "osD^vPX"


def main() -> None:
    """One mark for each network and method: the median over its runs."""
    with (RESULTS / "repairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    rows.sort(key=lambda row: row["method"])
    for (method, group), mark in zip(groupby(rows, key=lambda row: row["method"]), MARKS, strict=False):
        points = [_medians(list(part)) for part in _by_network(list(group))]
        lost, seconds = zip(*points, strict=True)
        axes.scatter(seconds, lost, marker=mark, label=f"{method} ({len(points)})", alpha=0.8)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="processor seconds",
        ylabel="lost or wrong, % (the lower the better)",
    )
    axes.axhline(0.1, color="0.6", linestyle=":")
    axes.set_title("Unseen counterexamples wrong + decisions of the domain lost")
    axes.legend(fontsize="small")
    figure.savefig(RESULTS / "fidelity.svg", metadata={"Date": None})


def _by_network(rows: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    def key(row: dict[str, str]) -> str:
        return f"{row['network']}/{row['property']}"

    return [list(part) for _, part in groupby(sorted(rows, key=key), key=key)]


def _medians(rows: list[dict[str, str]]) -> tuple[float, float]:
    wrong = median(1 - float(row["repaired_unseen"]) for row in rows)
    lost = median(1 - float(row["domain_agree"]) for row in rows)
    return 100 * max(wrong + lost, 1e-5), median(float(row["cpu_seconds"]) for row in rows)


if __name__ == "__main__":
    main()
