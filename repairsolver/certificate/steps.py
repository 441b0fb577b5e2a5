r"""Layers on boxes: between which bounds they stay, and how linear bounds go backwards through them.

A *step* says of a layer y = f(x), on a batch of boxes, that for all rows R

$$ R y \ge P x + R m - |R| s $$

for the P that is computed from R. For an affine layer M x + c it is R M, with m = c, and s is rounding alone.
An activation has two lines around it, $\alpha x + l \le \phi(x) \le \beta x + h$: a positive entry of R takes
the lower one, a negative one the upper one, so that P is $R (\alpha + \beta) / 2 + |R| (\alpha - \beta) / 2$,
m is (l + h) / 2 and s is (h - l) / 2. Slopes are anybody's choice: l and h are computed from the extremes of
$\phi(x) - \alpha x$, which for a piecewise linear function lie at the ends and the kinks.

All rounding is in s: P errs by at most $\gamma |R| |M|$, at x by $\gamma |R| |M| |x|$ with the largest |x|
on the box ($|\alpha|$ or $|\beta|$ stand for |M| in an activation, and three roundings for its sums), and
the products with m and s by $\gamma |R| (|m| + s)$. An execution's own error is one more term. What
underflows does not shrink with R, and is a number of its own.

Source: Zhang et al. 2018 (CROWN), theorem 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repairsolver.certificate.arithmetic import TINY, Interval, above, apart, ball, gamma, reach, up
from repairsolver.certificate.layers import Layer, Matrix
from repairsolver.certificate.pooling import pooled
from repairsolver.certificate.relaxation import Back, Exact, bent
from repairsolver.network import operators as ops
from repairsolver.results import Array


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A layer on boxes: bounds `hull` of y, m and s, [b, size] each, P, and what may underflow, [b, 1]."""

    layer: Layer
    hull: Interval
    middle: Array
    spread: Array
    back: Back
    tiny: Array


def stepped(layer: Layer, parts: list[Interval]) -> Step:
    """A layer for bounds of its inputs, [b, size] each."""
    match layer.operator:
        case None:
            hull, (middle, half), linear, back = _affine(layer, parts)
        case ops.MaxPool():
            hull, (middle, half), linear, back = pooled(layer.operator, *parts[0])
        case _:
            hull, (middle, half), linear, back = bent(layer.operator, *parts[0])
    constant = np.abs(middle) + half
    error = above(layer.relative * (linear + constant) + layer.absolute) if layer.absolute else np.zeros(1)
    slip = above(gamma(layer.terms) * linear + 2 * gamma(linear.shape[1]) * constant + error)
    tiny = TINY * (1 + sum(reach(bounds).sum(axis=1, keepdims=True) for bounds in (*parts, hull)))
    return Step(layer, apart(hull, error) if layer.absolute else hull, middle, up(half + slip), back, tiny)


def _affine(layer: Layer, parts: list[Interval]) -> Exact:
    centre, linear, spread = layer.constant, np.zeros(1), np.zeros(1)
    for matrix, bounds in zip(layer.matrices, parts, strict=True):
        (middle, radius), size = ball(*bounds), abs(matrix).T  # type: ignore[attr-defined]
        centre = centre + middle @ matrix.T
        linear = linear + (np.abs(middle) + radius) @ size
        spread = spread + radius @ size

    def back(rows: Array, _size: Array) -> list[Array]:
        return [_product(rows, matrix) for matrix in layer.matrices]

    loss = spread + above(gamma(2 * layer.terms) * (linear + np.abs(layer.constant)))
    middle = np.broadcast_to(layer.constant, linear.shape)
    return apart((centre, centre), loss), (middle, np.zeros(1)), linear, back


def _product(rows: Array, matrix: Matrix) -> Array:
    """Rows [b, s, k] times a matrix; small products, one a box, keep BLAS from threads that only wait."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(rows @ matrix)
    return np.asarray(rows.reshape(-1, rows.shape[2]) @ matrix).reshape(*rows.shape[:2], -1)
