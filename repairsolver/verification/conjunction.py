r"""Is a conjunction impossible on a box? Linear bounds of its rows, combined, and the box contracted.

A conjunction is violated at x iff $g_r(x) \le 0$ for all rows. Given $g_r(x) \ge A_r x + c_r$:

- it is impossible on the box if for some weights $w \ge 0$, $\sum_r w_r = 1$,
  $\min_x \sum_r w_r (A_r x + c_r) > 0$ (Farkas);
- any violation satisfies $A_r x + c_r \le 0$, so the box may be cut down to that half-space's hull.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repairsolver.bounds.backward import ROUNDING, LinearBound


def combine(bound: LinearBound, lower: Tensor, upper: Tensor, *, steps: int = 12) -> tuple[Tensor, Tensor]:
    """The best bound min_x sum_r w_r (A_r x + c_r) found over the simplex, [b], and its weights [b, r].

    Exponentiated-gradient ascent of a concave function, from the best single row and from the centre.
    Source: Kivinen and Warmuth 1997.
    """
    single = bound.minimum(lower, upper)
    best, row = single.max(dim=1)
    count = single.shape[1]
    weights = torch.nn.functional.one_hot(row, count).to(single.dtype)
    if count == 1:
        return best, weights
    log = torch.zeros_like(single)
    reach = torch.maximum(lower.abs(), upper.abs()).unsqueeze(2)
    rounding = ROUNDING * ((bound.slope.abs() @ reach).squeeze(2) + bound.shift.abs())
    for step in range(steps):
        trial = torch.softmax(log, dim=1)
        value, gradient = _combined(bound, trial, lower, upper)
        # Rows may cancel: the rounding is that of each of them, not that of their sum.
        value = value - (trial * rounding).sum(dim=1)
        better = value > best
        best = torch.where(better, value, best)
        weights = torch.where(better.unsqueeze(1), trial, weights)
        size = (gradient.amax(1) - gradient.amin(1)).clamp(min=1e-30)
        log = log + (4.0 / (1 + step) ** 0.5) * gradient / size.unsqueeze(1)
    return best, weights


def _combined(bound: LinearBound, weights: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    slope = (weights.unsqueeze(1) @ bound.slope).squeeze(1)
    corner = torch.where(slope > 0, lower, upper)
    rows = (bound.slope @ corner.unsqueeze(2)).squeeze(2) + bound.shift
    return (weights * rows).sum(dim=1), rows


def contract(bound: LinearBound, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The box hull of the points of a box where every row A_r x + c_r may be at most 0.

    For each row and input i: A_i x_i <= -c - sum over j != i of min(A_j x_j). An empty result is
    returned crossed (lower above upper). Widened by 1e-12 relative for rounding.
    """
    for row in range(bound.slope.shape[1]):
        slope, shift = bound.slope[:, row], bound.shift[:, row : row + 1]
        least = torch.minimum(slope * lower, slope * upper)
        total = least.sum(dim=1, keepdim=True)
        room = -shift - total
        reach = room + least
        scale = 1e-12 * (shift.abs() + least.abs().sum(dim=1, keepdim=True) + reach.abs())
        limit = (reach + scale) / torch.where(slope == 0, torch.ones_like(slope), slope)
        shrunk_upper = torch.where(slope > 0, torch.fmin(upper, limit), upper)
        limit_lower = (reach + scale) / torch.where(slope == 0, torch.ones_like(slope), slope)
        shrunk_lower = torch.where(slope < 0, torch.fmax(lower, limit_lower), lower)
        lower, upper = shrunk_lower, shrunk_upper
    return lower, upper
