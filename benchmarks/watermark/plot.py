"""Mean least changes beside the published ones: `results/comparison.svg`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.plots import Series, lines, read

FOLDER = Path(__file__).parent


def plot(results: Path, out: Path = FOLDER / "results" / "comparison.svg") -> None:
    """Draw the mean over the samples of every number of watermarks."""
    published = {int(row["k"]): float(row["mean_linf"]) for row in read(FOLDER / "published.csv")}
    measured: dict[int, list[float]] = {}
    for row in read(results):
        if row["status"] == "optimal":
            measured.setdefault(int(row["k"]), []).append(float(row["linf"]))
    counts = sorted(published)
    ours = [sum(measured[k]) / len(measured[k]) if k in measured else None for k in counts]
    series = [
        Series("published (LPAR 2020)", [published[k] for k in counts], False),
        Series("repairsolver, proved optimal", ours, True),
    ]
    lines(out, counts, series, ("watermarks removed", "mean least Linf change"))
