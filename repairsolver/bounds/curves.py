r"""Lines around ELU and GELU, from values on a grid and a bound of the second derivative.

For any slope s, $g(x) = \phi(x) - s x$ has the curvature of $\phi$. Where $|\phi''| \le M$, between two
points at distance h it leaves the chord by at most $M h^2 / 8$; so the largest and smallest g of a grid,
moved outward by that, enclose g. Beyond the part that bends, $\phi$ is a line up to `tail`, and the ends tell
its extremes.

A file that writes GELU out stores some k instead of $1 / \sqrt 2$. With $k \sqrt 2 = 1 + \delta$ its
function leaves GELU by at most $|\delta| \max_t \sqrt{2 / \pi}\, t^2 e^{-t^2} < 0.2936\, |\delta|$, and terms
of $\delta^2$; with tanh, by at most $|\delta| \max_x x u / (2 \cosh^2 u) < 0.26 |\delta|$ for factors of u
that are so much off. All bounds of GELU are moved outward by `STORED`, which covers $|\delta|$ up to 1e-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from repairsolver.bounds.lines import Lines
from repairsolver.bounds.tensors import TensorNode, apply_activation
from repairsolver.network import operators as ops

POINTS = 48
"""Cells of the grid."""

CHORDS, NARROW = 16, 1e-6
"""Of a steep ELU's chords to the upper end that are compared, and a width below which there is no chord."""

STORED = 3e-7
"""What the stored constant of a written-out GELU may move its values by; see `network.fusing`."""


@dataclass(frozen=True, slots=True)
class Bent:
    """Where a function bends: between `left` and `right`, with |f''| <= curvature inside.

    Args:
        tail: how far the function is from a line to either side, at most.
    """

    left: float
    right: float
    curvature: float
    tail: float


def bent(operator: ops.Curve) -> Bent:
    """ELU may have a kink at 0, where its grid ends; |f''| of GELU is at most 0.798, also with tanh."""
    if isinstance(operator, ops.Elu):
        return Bent(-16.0, 0.0, operator.alpha, operator.alpha * math.exp(-16.0))
    return Bent(-9.0, 9.0, 1.0, 1e-15)


def enclosed(node: TensorNode, lower: Tensor, upper: Tensor) -> Lines:
    """Lines on [lower, upper], [b, size].

    Moved outward by 1e-12 of the numbers in it, for rounding.
    """
    assert isinstance(node.operator, ops.Curve)
    shape = bent(node.operator)
    at_lower, at_upper = apply_activation(node, lower), apply_activation(node, upper)
    below, above = slopes(node, lower, upper)
    start, end = lower.clamp(shape.left, shape.right), upper.clamp(shape.left, shape.right)
    floor = torch.minimum(at_lower - below * lower, at_upper - below * upper)
    ceiling = torch.maximum(at_lower - above * lower, at_upper - above * upper)
    for number in range(POINTS + 1):
        x = start + (end - start) * (number / POINTS)
        value = apply_activation(node, x)
        floor = torch.minimum(floor, value - below * x)
        ceiling = torch.maximum(ceiling, value - above * x)
    error = shape.curvature * ((end - start) / POINTS).square() / 8 + 2 * shape.tail
    factor = 1 + (node.operator.alpha if isinstance(node.operator, ops.Elu) else 0.0)
    error = error + 1e-12 * factor * (1 + lower.abs() + upper.abs()) + moved(node.operator)
    return Lines(below, floor - error, above, ceiling + error)


def slopes(node: TensorNode, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Of the line below that at the middle, of the line above that of the chord; see `_steep` for others."""
    assert isinstance(node.operator, ops.Curve)
    first, last = apply_activation(node, lower), apply_activation(node, upper)
    tangent = slope(node.operator, (lower + upper) / 2)
    chord = (last - first) / (upper - lower).clamp(min=NARROW)
    steep = isinstance(node.operator, ops.Elu) and node.operator.alpha > 1
    below, above = _steep(node, lower, upper, chord) if steep else (tangent, chord)
    narrow = upper - lower <= NARROW
    return torch.where(narrow, tangent, below), torch.where(narrow, tangent, above)


def _steep(node: TensorNode, lower: Tensor, upper: Tensor, chord: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes for an ELU with alpha > 1: convex left of 0, concave at 0.

    The line below is no steeper than the steepest chord from the upper end. The line above goes through the
    value at 0, where that lies above the chord.
    """
    assert isinstance(node.operator, ops.Elu)
    middle, start, last = (lower + upper) / 2, lower.clamp(max=0), apply_activation(node, upper)
    steepest = chord
    for k in range(CHORDS):
        x = start * (1 - k / CHORDS)
        rise = (last - apply_activation(node, x)) / (upper - x).clamp(min=NARROW)
        steepest = torch.maximum(steepest, rise)
    tangent = slope(node.operator, middle)
    below = torch.where(middle < 0, torch.minimum(tangent, steepest), steepest)
    left = apply_activation(node, lower) / lower.clamp(max=-NARROW)
    over = torch.where(middle < 0, left, torch.ones_like(left))
    return below, torch.where((lower < 0) & (upper > 0) & (left > 1), over, chord)


def slope(operator: ops.Curve, x: Tensor) -> Tensor:
    """The derivative; of GELU, also where it is approximated, that of the exact one."""
    if isinstance(operator, ops.Elu):
        return torch.where(x >= 0, torch.ones_like(x), operator.alpha * x.clamp(max=0).exp())
    density: Tensor = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    share: Tensor = torch.special.ndtr(x)
    return share + x * density


def moved(operator: ops.Curve) -> float:
    """How far the file's function may be from the operator's."""
    return STORED if isinstance(operator, ops.Gelu) else 0.0


def extremes(
    operator: ops.Curve, lower: Tensor, upper: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Bounds of the values on [lower, upper], where `low` and `high` are the smaller and larger end's.

    GELU falls left of its minimum -0.16998 (with tanh -0.17005) near -0.752, and grows right of it.
    """
    if isinstance(operator, ops.Elu):
        return low, high
    inside = (lower < -0.75) & (upper > -0.754)
    low = torch.where(inside, low.clamp(max=-0.1701 if operator.tanh else -0.169972), low)
    return low - moved(operator), high + moved(operator)
