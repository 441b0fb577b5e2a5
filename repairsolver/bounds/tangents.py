r"""Lines of sigmoid and tanh whose points of tangency are free.

Both functions are convex left of 0 and concave right of it, so that on [l, u] the least concave function
above is a chord from l up to a point d* and the function itself from there on. Its tangents are those at
d between max(l, d*) and u; if d* lies beyond u, the chord is the only one. A tangent of any slope k is
valid with the shift $\max_{[l, u]} \phi(x) - k x$, which lies at l, at u or at the point of tangency: what
is chosen, and how exactly d* is known, concerns the tightness and not the soundness. Lower lines are
upper lines of $-\phi(-x)$ on [-u, -l].

Source: Xu et al. 2021 (alpha-CROWN), appendix on S-shaped activations; Zhang et al. 2018 (CROWN), table 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from repairsolver.bounds.relaxation import Lines, slope_at
from repairsolver.bounds.tensors import TensorNode, apply_activation
from repairsolver.network import operators as ops

HALVINGS = 14
# What evaluating function and line may be off, for numbers of size 1.
ROUNDED = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class UpperTangents:
    """The tangents above an S-shaped function on [lower, upper], each tensor [b, size].

    Args:
        first: the least point of tangency (the greatest is `upper`).
        chord: slope of the chord, where `straight` says that there is no tangent.
    """

    node: TensorNode
    lower: Tensor
    upper: Tensor
    first: Tensor
    chord: Tensor
    straight: Tensor

    def line(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and shift of the tangent that lies `share` of the way from the first to the last."""
        low, high, first, chord, straight = (
            _like(x, share) for x in (self.lower, self.upper, self.first, self.chord, self.straight)
        )
        at = first + share * (high - first)
        value = apply_activation(self.node, at)
        slope = torch.where(straight, chord, slope_at(self.node, value))
        ends = [apply_activation(self.node, x) - slope * x for x in (low, high)]
        shift = torch.maximum(ends[0], ends[1])
        return slope, torch.where(straight, shift, torch.maximum(shift, value - slope * at))


def upper_tangents(node: TensorNode, lower: Tensor, upper: Tensor) -> UpperTangents:
    """What can be turned above a function on [lower, upper]."""
    at_lower, at_upper = apply_activation(node, lower), apply_activation(node, upper)
    chord = (at_upper - at_lower) / (upper - lower).clamp(min=1e-9)

    def passes_above(at: Tensor) -> Tensor:
        """Whether the tangent at a point lies above the function at the lower end."""
        value = apply_activation(node, at)
        return value + slope_at(node, value) * (lower - at) >= at_lower

    with torch.no_grad():
        low, high = lower.clamp(min=0).detach(), upper.detach()
        straight = (upper <= 0) | ~passes_above(upper)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = passes_above(middle)
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        first = torch.where(lower >= 0, lower, high)
    return UpperTangents(node, lower, upper, first, chord, straight)


@dataclass(frozen=True, slots=True, eq=False)
class Tangents:
    """The tangents on both sides of an S-shaped activation."""

    above: UpperTangents
    mirrored: UpperTangents

    def lines(self, share: Tensor) -> Lines:
        """The two lines for given shares, between 0 and 1, [b, size] or one for each row, [b, s, size]."""
        slope, shift = self.above.line(share)
        mirrored_slope, mirrored_shift = self.mirrored.line(share)
        # phi(-x) = top - phi(x).
        top = 1.0 if isinstance(self.above.node.operator, ops.Sigmoid) else 0.0
        low, high = _like(self.above.lower, share), _like(self.above.upper, share)
        slack = ROUNDED * (1 + low.abs() + high.abs())
        return Lines(mirrored_slope, top - mirrored_shift - slack, slope, shift + slack)


def tangents(node: TensorNode, lower: Tensor, upper: Tensor) -> Tangents:
    """The tangents of a sigmoid or tanh on [lower, upper], each [b, size]."""
    return Tangents(upper_tangents(node, lower, upper), upper_tangents(node, -upper, -lower))


def _like(x: Tensor, share: Tensor) -> Tensor:
    return x.unsqueeze(1) if share.dim() == 3 else x
