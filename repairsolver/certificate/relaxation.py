"""Lines around activations, alpha x + l <= phi(x) <= beta x + h, for any slopes (see `steps`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from repairsolver.certificate import smooth, strategy
from repairsolver.certificate.arithmetic import TINY, UNIT, Interval, frozen, reach
from repairsolver.certificate.layers import Bend
from repairsolver.network import operators as ops
from repairsolver.results import Array

# P for each input, [b, s, size], of R and |R|, which may be overwritten.
Back = Callable[[Array, Array], list[Array]]
# Without rounding: bounds of y, l and h, the largest sums of absolute terms |M| |x|, [b, size] each, and P.
Exact = tuple[Interval, Interval, Array, Back]


def bent(operator: Bend, lower: Array, upper: Array) -> Exact:
    """An activation on [lower, upper], [b, size]."""
    # What is chosen are numbers of the precision that rounding is bounded for.
    low, high = (np.array(slope, np.float64) for slope in strategy.slopes(operator, *frozen(lower, upper)))
    shifts = extremes(operator, low, lower, upper)[0], extremes(operator, high, lower, upper)[1]
    linear = reach((low, high)) * reach((lower, upper))
    return extremes(operator, np.zeros(1), lower, upper), shifts, linear, between(low, high)


def between(low: Array, high: Array) -> Back:
    """P of lines with slopes `low` below and `high` above, [b, size]."""
    middle, half = (low + high)[:, None] / 2, (low - high)[:, None] / 2

    def back(rows: Array, size: Array) -> list[Array]:
        rows *= middle
        size *= half
        rows += size
        return [rows]

    return back


def extremes(operator: Bend, slope: Array, lower: Array, upper: Array) -> Interval:
    """Bounds of phi(x) - slope x on [lower, upper], [b, size], for any slope."""
    match operator:
        case ops.Sigmoid() | ops.Tanh():
            return smooth.extremes(operator, slope, lower, upper)
        case ops.Clip(low, high):
            x = _points(lower, upper, low, high)
            value = np.clip(x, low, high)
        case ops.LeakyRelu(left):
            x = _points(lower, upper, 0.0)
            value = np.where(x >= 0, x, left * x)
    line = slope * x
    error = 4 * UNIT * (np.abs(value) + np.abs(line)) + TINY
    return (value - line - error).min(axis=0), (value - line + error).max(axis=0)


def _points(lower: Array, upper: Array, *kinks: float) -> Array:
    return np.stack([lower, upper, *(np.clip(kink, lower, upper) for kink in kinks)])
