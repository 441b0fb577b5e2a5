"""Decision regions on a two-dimensional slice of the input space: before, after, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repairsolver.decision import Side
from repairsolver.metrics import evaluate
from repairsolver.network.graph import Network
from repairsolver.property import Property
from repairsolver.report.figure import PALETTE
from repairsolver.report.figure import figure as empty
from repairsolver.results import Array, Counterexample

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 12
"""Outputs that a legend has room for."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a slice.

    Args:
        index: which input it is.
        lower, upper: the range that is drawn, in the network's units.
        label: what it is called.
        scale, shift: what is written on the axis is scale * input + shift.
    """

    index: int
    lower: float
    upper: float
    label: str
    scale: float = 1.0
    shift: float = 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """The drawn range in the units written on the axis."""
        return float(self.shown(self.lower)), float(self.shown(self.upper))

    def shown(self, values: Array | float) -> Array:
        """Inputs in the units written on the axis."""
        return np.asarray(self.scale * np.asarray(values) + self.shift)


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A plane through a point.

    Args:
        base: [n], the values of the inputs that are not axes.
        x, y: the axes.
        resolution: points along each axis.
    """

    base: Array
    x: Axis
    y: Axis
    resolution: int = 300

    def points(self) -> Array:
        """The grid, row by row from the lower left, [resolution^2, n]."""
        xs, ys = (np.linspace(axis.lower, axis.upper, self.resolution) for axis in (self.x, self.y))
        points = np.tile(self.base, (self.resolution**2, 1))
        points[:, self.x.index] = np.tile(xs, self.resolution)
        points[:, self.y.index] = np.repeat(ys, self.resolution)
        return points


def chosen(network: Network, plane: Slice, decision: Side) -> NDArray[np.intp]:
    """The chosen output at each point of the grid, [resolution, resolution]; of a tie the first."""
    outputs = evaluate(network, plane.points())
    best = outputs.argmax(axis=1) if decision == "max" else outputs.argmin(axis=1)
    return np.asarray(best.reshape(plane.resolution, plane.resolution))


def draw_slices(
    original: Network,
    repaired: Network,
    plane: Slice,
    path: Path,
    *,
    decision: Side = "max",
    classes: Sequence[str] = (),
    prop: Property | None = None,
    counterexamples: Sequence[Counterexample] = (),
    title: str = "",
) -> None:
    """Write the picture of `slices_figure` to a file that ends in .png, .svg or .pdf."""
    slices_figure(
        original,
        repaired,
        plane,
        decision=decision,
        classes=classes,
        prop=prop,
        counterexamples=counterexamples,
        title=title,
    ).savefig(path, dpi=110)


def slices_figure(
    original: Network,
    repaired: Network | None,
    plane: Slice,
    *,
    decision: Side = "max",
    classes: Sequence[str] = (),
    prop: Property | None = None,
    counterexamples: Sequence[Counterexample] = (),
    title: str = "",
) -> Figure:
    """Three panels: the decisions before, after, and where they differ; without a repair the first alone.

    Args:
        plane: what is shown.
        classes: names of the outputs.
        prop: its boxes are outlined, as they project on the plane.
        counterexamples: marked, as they project on the plane.
    """
    colours = [PALETTE[i % len(PALETTE)] for i in range(original.output_size)]
    before = chosen(original, plane, decision)
    images = [("before" if repaired is not None else "", before, colours)]
    if repaired is not None:
        after = chosen(repaired, plane, decision)
        changed = float((before != after).mean())
        name = f"difference ({changed:.2%} of this slice, black)"
        images += [("after", after, colours)]
        images += [(name, (before != after).astype(np.intp), ["#ffffff", "#000000"])]
    figure = empty(13.0 if repaired is not None else 5.6, 4.9)
    panels = figure.subplots(1, len(images), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (name, pixels, palette) in zip(panels, images, strict=True):
        _panel(panel, plane, pixels, palette, name)
        _overlay(panel, plane, prop, counterexamples)
    panels[0].set_ylabel(plane.y.label)
    decided = images[: 1 if repaired is None else 2]
    present = sorted({int(i) for _, pixels, _ in decided for i in np.unique(pixels)})
    _legend(figure, panels[0], present, colours, classes, 8 if repaired is not None else 3)
    figure.suptitle(title)
    return figure


def _panel(panel: Axes, plane: Slice, pixels: NDArray[np.intp], palette: Sequence[str], name: str) -> None:
    from matplotlib.colors import ListedColormap

    panel.imshow(
        pixels, origin="lower", extent=(*plane.x.ends, *plane.y.ends), aspect="auto",
        cmap=ListedColormap(palette), vmin=-0.5, vmax=len(palette) - 0.5, interpolation="nearest",
    )  # fmt: skip
    panel.set(title=name, xlabel=plane.x.label)


def _legend(
    figure: Figure,
    panel: Axes,
    present: Sequence[int],
    colours: Sequence[str],
    classes: Sequence[str],
    width: int,
) -> None:
    from matplotlib.patches import Patch

    names = classes or [f"output {i}" for i in range(len(colours))]
    handles: list[Artist] = [Patch(facecolor=colours[i], edgecolor="black", label=names[i]) for i in present]
    handles = [*handles[:MOST_NAMED], *panel.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), width), frameon=False)


def _overlay(
    panel: Axes, plane: Slice, prop: Property | None, counterexamples: Sequence[Counterexample]
) -> None:
    from matplotlib.patches import Rectangle

    for number, region in enumerate(prop.regions if prop else ()):
        corners = np.array([
            [axis.shown(end[axis.index]) for axis in (plane.x, plane.y)]
            for end in (region.lower, region.upper)
        ])  # fmt: skip
        label = "box of the property" if number == 0 else None
        low, size = corners.min(axis=0), np.abs(corners[1] - corners[0])
        outline = Rectangle(
            (low[0], low[1]), *size, fill=False, linewidth=1.6, edgecolor="black", label=label
        )
        outline.set_linestyle("--")
        panel.add_patch(outline)
    if counterexamples:
        inputs = np.array([found.input for found in counterexamples])
        panel.scatter(
            plane.x.shown(inputs[:, plane.x.index]), plane.y.shown(inputs[:, plane.y.index]),
            marker="X", s=36, color="#ffffff", edgecolors="#000000", linewidths=0.9, label="counterexamples",
        )  # fmt: skip
