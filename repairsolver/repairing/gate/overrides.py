"""Overrides read from the solution of a placement program, without what rounding leaves in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerwise.gate import Gated
from repairsolver.network.gated import Override
from repairsolver.results import Array

NEGLIGIBLE = 1e-7
"""Slopes and shifts of gated neurons below this count as none, relative to the layer's values."""

CONSTANT = 1e-6
"""Slopes below this make a constant."""

Line = tuple[float, float, float, float]
"""Slope, shift, lower and upper limit."""


def override_of(channels: Sequence[int], gated: Gated, found: Array, values: Array) -> Override:
    """The override of a solution.

    Args:
        channels: of which channel each candidate consists; -1 for a neuron.
        found: a value for every column of the program.
        values: of the layer at the points, [k, m].
    """
    tiny = NEGLIGIBLE * max(1.0, float(np.abs(values).max(initial=0.0)))
    affine = gated.affine.value(found) > 0.5
    lost, shift = gated.lost.value(found), gated.shift.value(found)
    lines: dict[int, Line] = {
        int(k): _affine(float(lost[k]), float(shift[k]), tiny) for k in np.flatnonzero(affine)
    }
    for k, clamp in gated.above.items():
        if clamp.chosen.value(found)[0] > 0.5:
            lines[k] = (1.0, 0.0, -np.inf, float(clamp.limit.value(found)[0]))
    for k, clamp in gated.below.items():
        if clamp.chosen.value(found)[0] > 0.5:
            lines[k] = (1.0, 0.0, -float(clamp.limit.value(found)[0]), np.inf)
    order = sorted(lines)
    sizes = [len(gated.groups[k]) for k in order]
    index = np.concatenate([*(gated.groups[k] for k in order), np.zeros(0, dtype=np.int64)])
    columns = np.repeat(np.array([lines[k] for k in order]).reshape(-1, 4), sizes, axis=0)
    owner = np.repeat([channels[k] for k in order], sizes)
    whole = tuple(int(c) for c in owner) if (owner >= 0).any() else ()
    slope, shift, lower, upper = (np.ascontiguousarray(column) for column in columns.T)
    return Override(index, slope, shift, lower, upper, whole)


def _affine(lost: float, shift: float, tiny: float) -> Line:
    """A slope of 0 makes a constant."""
    if lost > 1 - CONSTANT:
        return (1.0, 0.0, shift, shift)
    slope = 1.0 if lost < NEGLIGIBLE else 1 - lost
    return (slope, 0.0 if abs(shift) < tiny else shift, -np.inf, np.inf)
