"""Figures that show themselves in notebooks, whatever matplotlib was told there."""

from __future__ import annotations

from matplotlib.figure import Figure

from repairsolver.report.figure import image


class Shown(Figure):
    """A figure that belongs to no window, and whose picture is its display."""

    def _repr_png_(self) -> bytes:
        return image(self, "png")
