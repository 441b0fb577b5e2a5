r"""Lines around activations, rigorous: alpha x + beta <= phi(x) <= gamma x + delta on [l, u].

Slopes are free: whatever they are, shifts are computed from the extremes of $\phi(x) - s x$ on the interval.

- ReLU, leaky ReLU and clip are piecewise linear: extremes lie at the ends and the kinks.
- Sigmoid and tanh have theirs where `smooth` says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate import smooth
from repairsolver.certificate.arithmetic import TINY, UNIT, down, up
from repairsolver.network import operators as ops
from repairsolver.results import Array

# Where both slopes are as good, the prover's choice must be found again, whatever rounding does.
HALF = 0.5 + 2.0**-20
RELU = ops.LeakyRelu(np.zeros(1))


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The lines, each array [b, size]."""

    lower_slope: Array
    lower_shift: Array
    upper_slope: Array
    upper_shift: Array


def enclose(operator: ops.Activation, x: Array) -> tuple[Array, Array]:
    """Bounds of an activation's values at x."""
    match operator:
        case ops.Relu():
            return np.maximum(x, 0), np.maximum(x, 0)
        case ops.LeakyRelu(slope):
            return np.where(x >= 0, x, down(slope * x)), np.where(x >= 0, x, up(slope * x))
        case ops.Clip(low, high):
            return np.clip(x, low, high), np.clip(x, low, high)
        case ops.Sigmoid() | ops.Tanh():
            return smooth.enclose(operator, x)


def kinks(operator: ops.Activation) -> tuple[float, ...]:
    """Where it bends."""
    match operator:
        case ops.Relu() | ops.LeakyRelu():
            return (0.0,)
        case ops.Clip(low, high):
            return low, high
        case _:
            return ()


def interval(operator: ops.Activation, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds of an activation on [lower, upper], whose extremes lie at the ends and the kinks."""
    points = [lower, upper, *(np.clip(kink, lower, upper) for kink in kinks(operator))]
    lows, highs = zip(*(enclose(operator, x) for x in points), strict=True)
    return np.min(lows, axis=0), np.max(highs, axis=0)


def unstable(operator: ops.Activation | ops.MaxPool, lower: Array, upper: Array) -> NDArray[np.bool_]:
    """Entries whose lines would profit from tighter bounds."""
    bends = () if isinstance(operator, ops.MaxPool) else kinks(operator)
    if not bends:
        return np.asarray(upper > lower)
    return np.asarray(np.any([(lower < kink) & (upper > kink) for kink in bends], axis=0))


def lines(operator: ops.Activation, lower: Array, upper: Array) -> Lines:
    """Lines of an activation on [lower, upper], each [b, size]."""
    middle = lower / 2 + upper / 2
    points = [lower, upper, *(np.clip(x, lower, upper) for x in kinks(operator) or (middle,))]
    if isinstance(operator, ops.Sigmoid | ops.Tanh):
        slack = up(smooth.SLOPE_ERROR * up(upper - lower))
        low, high = smooth.slopes(operator, *points)
    else:
        slack, (low, high) = np.zeros(1), _bent(operator, lower, upper)
    ends = [enclose(operator, x) for x in points]

    def gap(value: Array, x: Array, slope: Array, sign: float) -> Array:
        """phi(x) - slope x, moved by its rounding."""
        line = slope * x
        return value - line + sign * (4 * UNIT * (np.abs(value) + np.abs(line)) + TINY)

    floor = np.min([gap(value[0], x, low, -1) for value, x in zip(ends, points, strict=True)], axis=0)
    ceiling = np.max([gap(value[1], x, high, 1) for value, x in zip(ends, points, strict=True)], axis=0)
    return Lines(low, down(floor - slack), high, up(ceiling + slack))


def _bent(operator: ops.Activation, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Slopes where a convex kink p is followed by a concave one q, with slopes left, middle and right.

    Where p makes it necessary the upper line is a chord, from the left end to q at most; else it touches at
    q, with the better slope. The lower line mirrors that.
    """
    match operator:
        case ops.Clip(first, last):
            left, middle, right = np.zeros(1), np.ones(1), np.zeros(1)
            p, q = np.array(first), np.array(last)
        case ops.LeakyRelu(slope):
            convex = slope <= 1
            p, q = np.where(convex, 0.0, -np.inf), np.where(convex, np.inf, 0.0)
            left, middle, right = slope, np.where(convex, 1.0, slope), np.ones(1)
        case _:
            return _bent(RELU, lower, upper)
    bottom, top = np.maximum(lower, p), np.minimum(upper, q)
    rise, fall = _share(top - p, top - lower), _share(q - bottom, upper - bottom)
    low = np.where(upper > q, right + (middle - right) * fall, np.where(rise > HALF, middle, left))
    high = np.where(lower < p, left + (middle - left) * rise, np.where(fall > HALF, middle, right))
    return low, high


def _share(part: Array, whole: Array) -> Array:
    """part / whole within [0, 1]; 0 for 0 / 0."""
    whole = np.maximum(whole, np.finfo(np.float64).tiny)
    return np.asarray(np.clip(part, 0, whole) / whole)
