"""Plots of sweeps: how many in how much time, one against another, and what repairs kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Protocol

import numpy as np

from repairsolver.report.figure import BLUE, GREY, LINES, MARKERS, VERMILION, Picture, figure, panel, picture
from repairsolver.report.sweep import QUALITIES, Instance, Sweep, shared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 1e-3
"""Shorter times are drawn as so many seconds."""

HATCHES = ("", "//", "..", "xx", "\\\\")


def sweep_pictures(sweeps: Sequence[Sweep], timeout: float | None = None) -> list[Picture]:
    """Every plot that the rows allow; the last sweep is the baseline of the scatter plots."""
    return [picture(*drawn) for drawn in sweep_figures(sweeps, timeout)]


def sweep_figures(
    sweeps: Sequence[Sweep], timeout: float | None = None, published: Sequence[Run] = ()
) -> Iterator[tuple[Figure, str, str]]:
    """Every plot that the rows allow, each with its title and what it shows.

    Sweeps that have no instance in common with the last one, the baseline, have no scatter plot.
    """
    if any(s.times for s in sweeps):
        text = "How many instances each run solves within so many seconds each: right and low is better."
        yield cactus(sweeps), "Solved over time", text
    *others, base = sweeps
    for other in (s for s in others if s.by_key.keys() & base.by_key.keys()):
        text = (
            f"One point for each instance of both: seconds of {other.name} against those of {base.name}. "
            f"Below the diagonal {other.name} is faster. On the dashed lines: not solved in time. Thin "
            "lines: factors of 10."
        )
        yield scatter(other, base, timeout), f"{other.name} against {base.name}", text
    drawn = bars([*sweeps, *published])
    if drawn is not None:
        yield drawn, "What repairs kept and what they mend", "Mean shares over the rows that tell them."


def cactus(sweeps: Sequence[Sweep]) -> Figure:
    """Seconds (logarithmic) over the number of instances solved within them."""
    with panel(height=4.0) as (blank, axes):
        for sweep, colour, marker in zip(sweeps, cycle(LINES), cycle(MARKERS), strict=False):
            times = np.maximum(sweep.times, LEAST)
            count = np.arange(1, len(times) + 1)
            every = max(1, len(times) // 12)
            axes.plot(
                count, times, color=colour, marker=marker, markersize=4, markevery=every, label=sweep.name
            )
        axes.set(yscale="log", xlabel="instances solved", ylabel="seconds for each")
        axes.legend(frameon=False)
    return blank


def scatter(sweep: Sweep, base: Sweep, timeout: float | None = None) -> Figure:
    """Seconds of two runs on the same instances, log-log; what was not solved lies on a time-out line."""
    pairs = [(base.by_key[key], sweep.by_key[key]) for key in shared([sweep, base])]
    known = [i.timeout for pair in pairs for i in pair if i.timeout] + [t for t in [timeout] if t]
    longest = max(
        [*known, *(i.seconds for pair in pairs for i in pair if i.solved and i.seconds)], default=1.0
    )
    end = 1.3 * longest

    def placed(instance: Instance) -> float:
        return max(instance.seconds or LEAST, LEAST) if instance.solved else end

    points = np.array([[placed(a), placed(b)] for a, b in pairs])
    lost = (points >= end).any(axis=1)
    low = 0.7 * float(points.min())
    with panel(5.4, 5.0) as (blank, axes):
        for factor, width in ((1.0, 1.2), (10.0, 0.6), (0.1, 0.6)):
            axes.plot([low, end], [factor * low, factor * end], color=GREY, linewidth=width, zorder=1)
        axes.axhline(end, color=VERMILION, linestyle="--", linewidth=1.0)
        axes.axvline(end, color=VERMILION, linestyle="--", linewidth=1.0, label="not solved in time")
        axes.scatter(
            points[~lost, 0],
            points[~lost, 1],
            s=18,
            color=BLUE,
            alpha=0.7,
            linewidths=0,
            label="solved by both",
            zorder=2,
        )
        axes.scatter(
            points[lost, 0], points[lost, 1], s=24, color=VERMILION, marker="x", linewidths=1.0, zorder=3
        )
        axes.set(xscale="log", yscale="log", xlim=(low, 1.25 * end), ylim=(low, 1.25 * end))
        axes.set(xlabel=f"{base.name}, seconds", ylabel=f"{sweep.name}, seconds")
        axes.legend(frameon=False, loc="lower right")
    return blank


class Run(Protocol):
    """What has a name and mean shares: a sweep, or published totals."""

    @property
    def name(self) -> str: ...

    def mean(self, quality: str) -> float | None: ...


def bars(sweeps: Sequence[Run]) -> Figure | None:
    """Mean agreement, efficacy, generalisation and drawdown of each run; None if no row tells any."""
    told = [q for q in QUALITIES if any(s.mean(q) is not None for s in sweeps)]
    if not told:
        return None
    blank = figure(6.4, 0.9 + 0.32 * len(told) * (len(sweeps) + 1))
    axes = blank.subplots()
    height = 0.8 / len(sweeps)
    for number, sweep in enumerate(sweeps):
        values = [sweep.mean(q) for q in told]
        place = np.arange(len(told)) + (number - (len(sweeps) - 1) / 2) * height
        drawn = axes.barh(
            place, [100 * (v or 0.0) for v in values], height, color=LINES[number % len(LINES)],
            hatch=HATCHES[number % len(HATCHES)], edgecolor="white", label=sweep.name,
        )  # fmt: skip
        axes.bar_label(drawn, ["-" if v is None else f"{v:.2%}" for v in values], padding=3, fontsize=8)
    axes.set(yticks=range(len(told)), yticklabels=told, xlabel="%", xlim=(0, 118))
    axes.invert_yaxis()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    blank.legend(loc="outside lower center", frameon=False, ncols=min(len(sweeps), 3))
    return blank
