"""Mean least changes beside the published ones: one figure for each norm."""

from __future__ import annotations

from pathlib import Path

from benchmarks.plots import Series, lines, read

FOLDER = Path(__file__).parent


def plot(results: Path, out: Path, norm: str) -> None:
    """Draw the mean over the samples of every number of watermarks."""
    rows = [row for row in read(FOLDER / "published.csv") if row["norm"] == norm]
    published = {int(row["k"]): float(row["mean"]) for row in rows}
    measured: dict[int, list[float]] = {}
    for row in read(results):
        if row["status"] == "optimal":
            measured.setdefault(int(row["k"]), []).append(float(row["cost"]))
    counts = sorted(published)
    ours = [sum(measured[k]) / len(measured[k]) if k in measured else None for k in counts]
    series = [
        Series("published (LPAR 2020)", [published[k] for k in counts], False),
        Series("repairsolver, proved optimal", ours, True),
    ]
    lines(out, counts, series, ("watermarks removed", f"mean least {norm.capitalize()} change"))
