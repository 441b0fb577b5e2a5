"""Which weights changed, and how much: one map for each changed tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from repairsolver.report.figure import figure
from repairsolver.results import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CELLS, MOST_TENSORS = 64, 4
"""Cells along one side of a map; a larger tensor is drawn in blocks, each with its largest change."""


def heat_figure(edit: Mapping[str, Any]) -> Figure | None:
    """The change of every tensor (new - old): rows are neurons, columns what they read.

    Args:
        edit: the content of a `.delta.json`.

    Returns:
        None without a change.
    """
    tensors = [item for item in edit["tensors"] if item["entries"]][:MOST_TENSORS]
    if not tensors:
        return None
    blank = figure(6.4, 1.1 + sum(_height(item) for item in tensors))
    heights = [_height(item) for item in tensors]
    panels = blank.subplots(len(tensors), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    largest = max(abs(entry["new"] - entry["old"]) for item in tensors for entry in item["entries"])
    for panel, item in zip(panels, tensors, strict=True):
        drawn = _draw(panel, item, largest)
    blank.colorbar(drawn, ax=list(panels), label="change (new - old)", shrink=0.9)
    return blank


def difference(item: Mapping[str, Any]) -> Array:
    """The change of one tensor as a matrix [neurons, what they read]; a bias is one row."""
    values = np.zeros(item["shape"])
    for entry in item["entries"]:
        values[tuple(entry["index"])] = entry["new"] - entry["old"]
    if item["role"] == "bias" or values.ndim < 2:
        return values.reshape(1, -1)
    if item["transposed"]:
        values = np.swapaxes(values, -1, -2)
    return np.asarray(values.reshape(len(values), -1))


def blocks(values: Array, most: int = MOST_CELLS) -> Array:
    """At most `most` cells along each side; each cell is the entry of largest size in its block."""
    for axis in (0, 1):
        size = -(-values.shape[axis] // most)
        if size > 1:
            starts = np.arange(0, values.shape[axis], size)
            high = np.maximum.reduceat(values, starts, axis=axis)
            low = np.minimum.reduceat(values, starts, axis=axis)
            values = np.where(high >= -low, high, low)
    return values


def _height(item: Mapping[str, Any]) -> float:
    rows = min(len(difference(item)), MOST_CELLS)
    return float(np.clip(0.16 * rows, 0.7, 3.2))


def _draw(panel: Axes, item: Mapping[str, Any], largest: float) -> Any:
    from matplotlib.ticker import MaxNLocator

    values = difference(item)
    cells = blocks(values)
    what = "bias" if item["role"] == "bias" else "weights"
    # The range of the axes is that of the tensor, whatever the size of the blocks.
    extent = (-0.5, values.shape[1] - 0.5, values.shape[0] - 0.5, -0.5)
    drawn = panel.imshow(
        cells,
        cmap="PuOr_r",
        vmin=-largest,
        vmax=largest,
        aspect="auto",
        interpolation="nearest",
        extent=extent,
    )
    panel.set_title(f"{item['layer']}: {what}, {len(item['entries'])} of {values.size} changed", fontsize=10)
    panel.set_xlabel("neuron" if what == "bias" else "read from", fontsize=9)
    if what == "weights":
        panel.set_ylabel("neuron", fontsize=9)
    else:
        panel.set_yticks([])
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    if what == "weights":
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn
