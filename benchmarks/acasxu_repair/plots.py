"""Figures of the rows: cost against its lower bound, advisories that changed, seconds beside others'."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
PUBLISHED = Path(__file__).parent / "published.csv"

OURS, BOUND, OTHERS, GREY = "#0072b2", "#e69f00", "#d55e00", "#999999"
"""Of Okabe and Ito's colours; marks differ in shape as well."""

LEAST = 1e-6
"""What is drawn for a share of 0 of 100,000 samples, which a logarithmic axis has no place for."""

STYLE = {"svg.fonttype": "none", "svg.hashsalt": "acasxu_repair", "font.size": 8}

Row = dict[str, str]


def draw(rows: Sequence[Row], folder: Path = FIGURES) -> list[Path]:
    """Write the figures as SVG; the same rows give the same files.

    Args:
        rows: of `results/repairs.csv`, those without a repaired network left out.
    """
    done = sorted((row for row in rows if row["status"] == "repaired"), key=lambda row: float(row["cost"]))
    if not done:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, paint in (("cost", _cost), ("agreement", _agreement), ("seconds", _seconds)):
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(7.2, 2.9), layout="constrained")
            paint(figure.add_subplot(), done)
            path = folder / f"acasxu_repair_{name}.svg"
            figure.savefig(path, metadata={"Date": None})
        written.append(path)
    return written


def _pairs(axes: Axes, rows: Sequence[Row]) -> range:
    places = range(len(rows))
    names = [f"N{row['network'].replace('_', ',')}/{row['property']}" for row in rows]
    axes.set_xticks(places, names, rotation=90, fontsize=6)
    axes.set_yscale("log")
    axes.grid(axis="y", color="#e0e0e0", linewidth=0.5)
    axes.set_axisbelow(True)
    return places


def _cost(axes: Axes, rows: Sequence[Row]) -> None:
    places = _pairs(axes, rows)
    cost, bound = ([float(row[name]) for row in rows] for name in ("cost", "lower_bound"))
    axes.vlines(places, bound, cost, color=GREY, linewidth=1)
    axes.plot(places, cost, "o", color=OURS, markersize=4, label="proved repair")
    axes.plot(places, bound, "v", color=BOUND, markersize=4, label="lower bound for every repair")
    axes.set_ylabel("norm of the change")
    _legend(axes)


def _agreement(axes: Axes, rows: Sequence[Row]) -> None:
    places = _pairs(axes, rows)
    changed = [max(1 - float(row["agreement"]), LEAST) for row in rows]
    axes.plot(places, changed, "o", color=OURS, markersize=4, label="proved repair")
    for line, other in zip(("--", ":", "-."), _published("accuracy"), strict=False):
        share = 1 - float(other["accuracy"])
        axes.axhline(share, color=OTHERS, linestyle=line, linewidth=1, label=f"{other['tool']}, mean")
    axes.set_ylabel(f"advisories changed\n({LEAST:g}: none of 100,000)")
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _seconds(axes: Axes, rows: Sequence[Row]) -> None:
    """Ours: every pair, and the mean; others: their mean, and N1,9 and N2,9 where they are published."""
    others = sorted(_published("seconds"), key=lambda row: float(row["seconds"]))
    own = [float(row["seconds"]) for row in rows]
    axes.plot(own, [0] * len(own), "|", color=OURS, markersize=9, label="one of our pairs")
    axes.plot(sum(own) / len(own), 0, "o", color=OURS, markersize=5, label="mean")
    for place, row in enumerate(others, start=1):
        axes.plot(float(row["seconds"]), place, "o", color=OTHERS, markersize=5)
        for mark, name in (("^", "seconds_N1_9"), ("s", "seconds_N2_9")):
            if row[name]:
                axes.plot(float(row[name]), place, mark, color=GREY, markersize=4)
    for mark, name in (("^", "N1,9"), ("s", "N2,9")):
        axes.plot([], [], mark, color=GREY, markersize=4, linestyle="", label=name)
    whole = {"yes": "", "no": " (points)", "adds patches": " (patches)"}
    names = [f"{row['tool']}{whole[row['whole_region']]}" for row in others]
    axes.set_yticks(range(len(others) + 1), ["repairsolver", *names])
    axes.set_xscale("log")
    axes.set_xlabel("seconds, each on its authors' machine")
    axes.grid(axis="x", color="#e0e0e0", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="lower right")


def _published(column: str) -> list[Row]:
    """The published results that have this number."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row[column]]
