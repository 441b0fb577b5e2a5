"""The picture: how often statements are wrong, and how many samples they take."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(folder: Path) -> None:
    """Write `power.png` from the rows of calibration and power."""
    calibration, power = (_read(folder / f"{name}.csv") for name in ("calibration", "power"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for test, marker in (("fixed", "s"), ("sequential", "o")):
        rows = [row for row in calibration if row["test"] == test and float(row["eta"]) == 0.05]
        x, y = ([float(row[name]) for row in rows] for name in ("ratio", "wrong"))
        spread = [
            [value - float(row["wrong_low"]) for row, value in zip(rows, y, strict=True)],
            [float(row["wrong_high"]) - value for row, value in zip(rows, y, strict=True)],
        ]
        left.errorbar(x, y, spread, marker=marker, linestyle="none", capsize=3, label=test)
    left.axhline(0.05, color="black", linestyle="--", label="allowed: eta")
    left.set(xscale="log", xlabel="P(violation) / epsilon", ylabel="share of 2,000 statements that are wrong")
    x, mean, high = ([float(row[name]) for row in power] for name in ("ratio", "mean_samples", "q90_samples"))
    shown = [max(value, 0.02) for value in x]
    right.plot(shown, mean, marker="o", label="sequential, mean")
    right.plot(shown, high, marker=".", linestyle=":", label="sequential, 90 %")
    size = float(power[0]["zero_failure_samples"])
    right.axhline(size, color="black", linestyle="--", label="zero-failure test")
    right.axvline(1.0, color="grey", linewidth=0.8)
    right.set(
        xscale="log", yscale="log", xlabel="P(violation) / epsilon (0 at the left end)", ylabel="samples"
    )
    for axes in (left, right):
        axes.legend()
    figure.savefig(folder / "power.png", dpi=110)
    plt.close(figure)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
