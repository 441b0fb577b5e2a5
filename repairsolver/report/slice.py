"""Decision regions on a two-dimensional slice of the input space: before, after, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from repairsolver.metrics import Decision, evaluate
from repairsolver.network.graph import Network
from repairsolver.property import Property
from repairsolver.results import Array, Counterexample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people with the common colour blindnesses tell apart, on a light grey.
PALETTE = ("#d9d9d9", "#56b4e9", "#e69f00", "#0072b2", "#d55e00", "#009e73", "#f0e442", "#cc79a7")


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


def chosen(network: Network, plane: Slice, decision: Decision) -> NDArray[np.intp]:
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
    decision: Decision = "max",
    classes: Sequence[str] = (),
    prop: Property | None = None,
    counterexamples: Sequence[Counterexample] = (),
    title: str = "",
) -> None:
    """Write a picture of three panels: the decisions before, after, and where they differ.

    Args:
        plane: what is shown.
        path: ends in .png, .svg or .pdf.
        classes: names of the outputs.
        prop: its boxes are outlined, as they project on the plane.
        counterexamples: marked, as they project on the plane.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    before, after = (chosen(network, plane, decision) for network in (original, repaired))
    colours = [PALETTE[i % len(PALETTE)] for i in range(original.output_size)]
    figure = Figure(figsize=(13.0, 4.9), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    images = ((before, colours), (after, colours), ((before != after).astype(int), ["#ffffff", "#000000"]))
    extent = (*plane.x.ends, *plane.y.ends)
    changed = float((before != after).mean())
    titles = ("before", "after", f"difference ({changed:.2%} of this slice, black)")
    for panel, (image, palette), name in zip(panels, images, titles, strict=True):
        shades = ListedColormap(palette)
        panel.imshow(
            image, origin="lower", extent=extent, aspect="auto", cmap=shades, vmin=-0.5,
            vmax=len(palette) - 0.5, interpolation="nearest",
        )  # fmt: skip
        panel.set(title=name, xlabel=plane.x.label)
        _overlay(panel, plane, prop, counterexamples)
    panels[0].set_ylabel(plane.y.label)
    names = classes or [f"output {i}" for i in range(original.output_size)]
    present = sorted(set(np.unique(before)) | set(np.unique(after)))
    handles = [Patch(facecolor=colours[i], edgecolor="black", label=names[i]) for i in present]
    handles += panels[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


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
