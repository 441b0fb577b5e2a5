r"""Sigmoid and tanh: enclosures of their values, and of $\phi(x) - s x$ on an interval for any slope s.

Both are convex left of 0 and concave right of it, so that their derivative is least at one of the ends.
"""

from __future__ import annotations

import numpy as np

from repairsolver.certificate.arithmetic import TINY, UNIT, Interval, above, down, up
from repairsolver.network import operators as ops
from repairsolver.results import Array

# What a library's exp and tanh may err, relative: 128 units in the last place, where 1 to 4 are usual.
ELEMENTARY = 2.0**-46
# Absolute error of a computed derivative of sigmoid or tanh: a few times that of their values.
SLOPE_ERROR = 2.0**-42


def enclose(operator: ops.Sigmoid | ops.Tanh, x: Array) -> Interval:
    """Bounds of 1 / (1 + exp(-x)), or of tanh(x)."""
    with np.errstate(over="ignore"):
        sigmoid = isinstance(operator, ops.Sigmoid)
        value = 1 / (1 + np.exp(-x)) if sigmoid else np.tanh(x)
    slack = np.abs(value) * ELEMENTARY + TINY
    return np.maximum(value - slack, 0 if sigmoid else -1), np.minimum(value + slack, 1)


def derivative(operator: ops.Sigmoid | ops.Tanh, x: Array) -> Array:
    """The derivative, up to SLOPE_ERROR."""
    value = enclose(operator, x)[0]
    return np.asarray(value * (1 - value) if isinstance(operator, ops.Sigmoid) else 1 - value * value)


def least_slope(operator: ops.Sigmoid | ops.Tanh, lower: Array, upper: Array) -> Array:
    """At most the derivative everywhere on [lower, upper]."""
    ends = np.minimum(derivative(operator, lower), derivative(operator, upper))
    return np.maximum(ends - SLOPE_ERROR, 0)


def extremes(
    operator: ops.Sigmoid | ops.Tanh, low: Array, high: Array, lower: Array, upper: Array
) -> Interval:
    r"""A lower bound of phi(x) - low x on [lower, upper], and an upper one of phi(x) - high x.

    With d the least derivative of such an f, or 0 if that is above 0, f lies above f(lower) + d (upper -
    lower) and below f(upper) - d (upper - lower). Where phi is concave, f has its minimum at an end, and lies
    below any tangent: below f(m) + |f'(m)| (upper - lower); the same mirrored where it is convex.
    """
    middle, width = lower / 2 + upper / 2, above(up(upper - lower))
    least, steep = least_slope(operator, lower, upper), derivative(operator, middle)
    values = [(x, *enclose(operator, x)) for x in (lower, upper, middle)]
    floors = [value - low * x - _error(value, low * x) for x, value, _ in values]
    ceilings = [value - high * x + _error(value, high * x) for x, _, value in values]
    falls = [above(np.maximum(up(slope - least), 0) * width) for slope in (low, high)]
    turns = [above(up(np.abs(steep - slope) + SLOPE_ERROR) * width) for slope in (low, high)]
    cases = [lower >= 0, upper <= 0]
    floor = np.select(cases, [np.minimum(*floors[:2]), floors[2] - turns[0]], -np.inf)
    ceiling = np.select(cases, [ceilings[2] + turns[1], np.maximum(*ceilings[:2])], np.inf)
    return down(np.maximum(floors[0] - falls[0], floor)), up(np.minimum(ceilings[1] + falls[1], ceiling))


def _error(value: Array, line: Array) -> Array:
    return 4 * UNIT * (np.abs(value) + np.abs(line)) + TINY
