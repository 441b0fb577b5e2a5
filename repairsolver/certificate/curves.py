r"""ELU and GELU: enclosures of $\phi(x) - s x$ on an interval for any slope s, from values on a grid.

The curvature of such an f is that of $\phi$, at most M in size, so that between two points at distance h it
leaves its chord by at most $M h^2 / 8$: its values at the points of a grid, moved outward by that, enclose
it. Left and right of the part that bends $\phi$ is within e of a line, and f within 2 e of its chord.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from repairsolver.certificate.arithmetic import TINY, UNIT, Interval, above, down, up
from repairsolver.certificate.smooth import ELEMENTARY
from repairsolver.network import operators as ops
from repairsolver.results import Array

CELLS = 64
# What a written-out GELU may differ from GELU for its stored constants: see `network.fusing`.
STORED = 3e-7


def shape(operator: ops.Curve) -> tuple[float, float, float, float]:
    """Where it bends, from and to; M; and e with what the values of the file may differ.

    ELU has a kink at 0, where its grid ends. |phi''| of GELU is at most 0.798, also with tanh.
    """
    if isinstance(operator, ops.Elu):
        return -32.0, 0.0, operator.alpha, 2.0**-44 * operator.alpha
    return -9.0, 9.0, 0.9, STORED + 2.0**-50


def enclose(operator: ops.Curve, x: Array) -> Interval:
    """Bounds of phi(x): exp, tanh and the normal distribution err by at most ELEMENTARY of 1."""
    if isinstance(operator, ops.Elu):
        value = np.where(x >= 0, x, operator.alpha * np.expm1(np.minimum(x, 0)))
        slack = np.where(x >= 0, 0.0, np.abs(value) * ELEMENTARY + TINY)
    else:
        with np.errstate(over="ignore"):
            bent = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        value = x * ((1 + np.tanh(bent)) / 2 if operator.tanh else ndtr(x))
        slack = 2 * np.abs(x) * ELEMENTARY + TINY
    return value - slack, value + slack


def extremes(operator: ops.Curve, low: Array, high: Array, lower: Array, upper: Array) -> Interval:
    """A lower bound of phi(x) - low x on [lower, upper], and an upper one of phi(x) - high x."""
    left, right, curvature, apart = shape(operator)
    start, end = np.clip(left, lower, upper), np.clip(right, lower, upper)
    width = above(up(end - start))
    cell = width / CELLS + 8 * UNIT * (np.abs(start) + np.abs(end))
    error = above(curvature * np.square(above(cell)) + 16 * apart) / 8
    floor, ceiling = np.array(np.inf), np.array(-np.inf)
    for k in range(-1, CELLS + 2):
        x = lower if k < 0 else upper if k > CELLS else np.clip(start + width * (k / CELLS), start, end)
        below, over = enclose(operator, x)
        floor = np.minimum(floor, below - low * x - _error(below, low * x))
        ceiling = np.maximum(ceiling, over - high * x + _error(over, high * x))
    return down(floor - error), up(ceiling + error)


def _error(value: Array, line: Array) -> Array:
    return 4 * UNIT * (np.abs(value) + np.abs(line)) + TINY
