r"""Sigmoid and tanh: enclosures of their values, and slopes for the lines of `relaxation`.

Both are convex left of 0 and concave right of it. Where an interval lies on one side, one line is the chord,
with extremes of $\phi(x) - s x$ at the ends, and the other a tangent at m, whose error e moves the extreme by
at most e |x - m|. Elsewhere the slope is at most that of the function at both ends, hence everywhere between
(it has one peak), so that the difference is increasing.
"""

from __future__ import annotations

import numpy as np

from repairsolver.certificate.arithmetic import TINY
from repairsolver.network import operators as ops
from repairsolver.results import Array

# What a library's exp and tanh may err, relative: 128 units in the last place, where 1 to 4 are usual.
ELEMENTARY = 2.0**-46
# Absolute error of a computed slope of sigmoid or tanh: a few times that of their values.
SLOPE_ERROR = 2.0**-42


def enclose(operator: ops.Sigmoid | ops.Tanh, x: Array) -> tuple[Array, Array]:
    """Bounds of 1 / (1 + exp(-x)), or of tanh(x)."""
    return sigmoid(x) if isinstance(operator, ops.Sigmoid) else tanh(x)


def sigmoid(x: Array) -> tuple[Array, Array]:
    """Bounds of 1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):
        value = 1 / (1 + np.exp(-x))
    return np.maximum(value * (1 - ELEMENTARY) - TINY, 0), np.minimum(value * (1 + ELEMENTARY) + TINY, 1)


def tanh(x: Array) -> tuple[Array, Array]:
    """Bounds of tanh(x)."""
    value = np.tanh(x)
    slack = np.abs(value) * ELEMENTARY + TINY
    return np.maximum(value - slack, -1), np.minimum(value + slack, 1)


def slopes(
    operator: ops.Sigmoid | ops.Tanh, lower: Array, upper: Array, middle: Array
) -> tuple[Array, Array]:
    """Chord and tangent where it is concave or convex and not too narrow; elsewhere the least slope."""
    values = [np.mean(enclose(operator, x), axis=0) for x in (lower, upper, middle)]
    steep = [v * (1 - v) if isinstance(operator, ops.Sigmoid) else 1 - v * v for v in values]
    least, width = np.maximum(np.minimum(*steep[:2]) - SLOPE_ERROR, 0), upper - lower
    wide = width >= 1e-6
    chord = np.maximum((values[1] - values[0]) / np.where(wide, width, 1.0), 0)
    cases = [wide & (lower >= 0), wide & (upper <= 0)]
    return np.select(cases, [chord, steep[2]], least), np.select(cases, [steep[2], chord], least)
