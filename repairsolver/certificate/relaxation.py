"""Lines around activations, alpha x + l <= phi(x) <= beta x + h, for any slopes (see `steps`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from repairsolver.certificate import curves, smooth, strategy
from repairsolver.certificate.arithmetic import TINY, UNIT, Interval, ball, frozen, reach
from repairsolver.certificate.layers import Bend
from repairsolver.network import operators as ops
from repairsolver.results import Array

# P for each input, [b, s, size], of R and |R|, which may be overwritten.
Back = Callable[[Array, Array], list[Array]]
# Without rounding: bounds of y; m and s; the largest sums of absolute terms |M| |x|, [b, size] each; and P.
Exact = tuple[Interval, tuple[Array, Array], Array, Back]


def bent(operator: Bend, lower: Array, upper: Array) -> Exact:
    """An activation on [lower, upper], [b, size]."""
    # What is chosen are numbers of the precision that rounding is bounded for.
    low, high = (np.array(slope, np.float64) for slope in strategy.slopes(operator, *frozen(lower, upper)))
    flat, linear = np.zeros(1), reach((low, high)) * reach((lower, upper))
    hull, shifts = (extremes(operator, *slopes, lower, upper) for slopes in ((flat, flat), (low, high)))
    return hull, ball(*shifts), linear, between(low, high)


def between(low: Array, high: Array) -> Back:
    """P of lines with slopes `low` below and `high` above, [b, size]."""
    middle, half = (low + high)[:, None] / 2, (low - high)[:, None] / 2

    def back(rows: Array, size: Array) -> list[Array]:
        rows *= middle
        size *= half
        rows += size
        return [rows]

    return back


def extremes(operator: Bend, low: Array, high: Array, lower: Array, upper: Array) -> Interval:
    """A lower bound of phi(x) - low x on [lower, upper], [b, size], and an upper one of phi(x) - high x."""
    match operator:
        case ops.Sigmoid() | ops.Tanh():
            return smooth.extremes(operator, low, high, lower, upper)
        case ops.Elu() | ops.Gelu():
            return curves.extremes(operator, low, high, lower, upper)
        case ops.Clip(first, last):
            x = _points(lower, upper, first, last)
            value = np.clip(x, first, last)
        case ops.LeakyRelu(left):
            x = _points(lower, upper, 0.0)
            value = np.where(x >= 0, x, left * x)
    below, over = low * x, high * x
    floor = value - below - (4 * UNIT * (np.abs(value) + np.abs(below)) + TINY)
    ceiling = value - over + (4 * UNIT * (np.abs(value) + np.abs(over)) + TINY)
    return floor.min(axis=0), ceiling.max(axis=0)


def _points(lower: Array, upper: Array, *kinks: float) -> Array:
    return np.stack([lower, upper, *(np.clip(kink, lower, upper) for kink in kinks)])
