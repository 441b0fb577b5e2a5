"""How a run came forward: cost against lower bound, and the proved share of the inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repairsolver.report.figure import BLUE, GREEN, GREY, VERMILION, panel
from repairsolver.report.history import Curve, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def convergence_figure(record: Mapping[str, Any]) -> Figure | None:
    """Cost of every candidate, the best proved one, and the lower bound; None without candidates."""
    rows = record.get("history", [])
    tried, best, lower = (curve(rows, name) for name in ("cost", "best", "lower_bound"))
    if not len(tried):
        return None
    end = float(record.get("seconds") or tried.seconds[-1])
    with panel() as (blank, axes):
        axes.plot(tried.seconds, tried.values, "o", color=GREY, markersize=3.5, label="candidates")
        _steps(axes, _running(best, np.minimum), end, BLUE, "-", "proved")
        _steps(axes, _running(lower, np.maximum), end, VERMILION, "--", "lower bound (proved)")
        axes.set(xlabel="seconds", ylabel=f"{record.get('norm', '')} norm of the change".strip())
        positive = [v for line in (tried, best, lower) for v in line.values if v > 0]
        if positive and max(positive) > 50 * min(positive):
            axes.set_yscale("log")
        axes.legend(frameon=False)
    return blank


def volume_figure(record: Mapping[str, Any]) -> Figure | None:
    """The share of the inputs on which the property is proved; None if boxes were never split.

    In a repair every candidate's proof begins anew.
    """
    proved = curve(list(_volumes(record)), "proved_volume")
    if len(proved) < 2:
        return None
    with panel(height=3.0) as (blank, axes):
        axes.plot(proved.seconds, 100 * np.array(proved.values), color=GREEN, drawstyle="steps-post")
        axes.set(xlabel="seconds", ylabel="proved, % of the input volume", ylim=(-2, 102))
    return blank


def _volumes(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The events, with the whole volume where a proof was complete."""
    for row in record.get("history", []):
        yield {**row, "numbers": {"proved_volume": 1.0}} if row["stage"] == "proved" else row
    if record.get("result") == "unsat":
        yield {"seconds": record.get("seconds") or 0.0, "numbers": {"proved_volume": 1.0}}


def bound_figure(record: Mapping[str, Any]) -> Figure | None:
    """The least proved bound over what is open: positive means proved; None without bounds."""
    bound = curve(record.get("history", []), "bound")
    if len(bound) < 2:
        return None
    with panel(height=3.0) as (blank, axes):
        axes.plot(bound.seconds, bound.values, color=BLUE, drawstyle="steps-post")
        axes.axhline(0.0, color=VERMILION, linewidth=1.0, linestyle="--", label="proved above")
        axes.set(xlabel="seconds", ylabel="best proved bound")
        axes.legend(frameon=False)
    return blank


def _running(line: Curve, best: Any) -> Curve:
    return (
        Curve(line.seconds, tuple(float(v) for v in best.accumulate(np.array(line.values))))
        if len(line)
        else line
    )


def _steps(axes: Axes, line: Curve, end: float, colour: str, style: str, label: str) -> None:
    if len(line):
        seconds, values = [*line.seconds, max(end, line.seconds[-1])], [*line.values, line.values[-1]]
        axes.plot(seconds, values, style, color=colour, drawstyle="steps-post", label=label)
