"""Measurements beside published numbers, as small SVG files that read without colours, too."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS, THEIRS = "#0072B2", "#D55E00"
"""Blue and vermilion of the palette of Okabe and Ito, which colour-blind people tell apart."""

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """Named numbers of one origin; None where there is no number."""

    label: str
    values: Sequence[float | None]
    ours: bool


def read(path: Path) -> list[Row]:
    """The rows of a CSV file; lines that begin with # are comments."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def dots(path: Path, rows: Sequence[tuple[str, Series]], panels: Sequence[str]) -> None:
    """One line per row, one panel per quantity: filled circles are ours, open squares are published.

    Args:
        path: where the SVG goes.
        rows: name and values, one value per panel.
        panels: titles of the x axes.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(
        1, len(panels), sharey=True, figsize=(8.5, 0.8 + 0.24 * len(rows)), layout="constrained"
    )
    for k, (axis, title) in enumerate(zip(axes, panels, strict=True)):
        for place, (_, series) in enumerate(rows):
            value = series.values[k]
            if value is not None:
                axis.plot(value, place, **_style(series.ours))
        axis.set_xlabel(title)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.axvline(0.0, color="#999999", linewidth=0.8)
    axes[0].set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes[0].invert_yaxis()
    _finish(plt, figure, path)


def lines(
    path: Path, x: Sequence[float], series: Sequence[Series], labels: tuple[str, str], *, log_y: bool = False
) -> None:
    """Lines over x on a logarithmic axis, with `log_y` on two; ours by marker, others dashed."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(6.0, 3.4), layout="constrained")
    markers = iter("o^DvPX*")
    for one in series:
        points = [(a, b) for a, b in zip(x, one.values, strict=True) if b is not None]
        style = {**_style(one.ours), "linestyle": "-" if one.ours else "--", "linewidth": 1.0}
        style |= {"marker": next(markers)} if one.ours else {}
        axis.plot(*zip(*points, strict=True), label=one.label, **style)
    axis.set_xscale("log")
    if log_y:
        axis.set_yscale("log")
    axis.set_xlabel(labels[0])
    axis.set_ylabel(labels[1])
    axis.legend(frameon=False)
    _finish(plt, figure, path)


def _style(ours: bool) -> dict[str, Any]:
    colour = OURS if ours else THEIRS
    marker, size = ("o", 4.5) if ours else ("s", 8.0)
    return {
        "color": colour, "marker": marker, "markersize": size, "linestyle": "",
        "markerfacecolor": colour if ours else "none",
    }  # fmt: skip


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "repairsolver"  # the same numbers give the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["font.size"] = 9
    import matplotlib.pyplot as plt

    return plt


def _finish(plt: Any, figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
