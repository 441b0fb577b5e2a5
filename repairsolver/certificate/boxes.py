r"""Boxes of inputs, and what linear functions say about their relevant points, rigorously rounded.

The *relevant* points of a box are those at which the conjunction asked about holds. A bound of a neuron,
a half-space or a smaller box is valid if no relevant point contradicts it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate.arithmetic import TINY, above, ball, down, gamma, times, up
from repairsolver.certificate.relaxation import Lines
from repairsolver.results import Array

Interval = tuple[Array, Array]
Positions = NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Boxes:
    """Boxes [b, n], bounds of pre-activations by position, and a half-space a x + k <= 0 for each.

    The half-space is a [b, n] and k [b, 1], zero for none; `node` and `query` [b] say where in a tree a box
    stands and what is asked there. By position, `hull` holds interval bounds, `reach` the largest
    magnitudes, [b, size], `slip` the rounding of a step and `relaxed` the lines; boxes that are `empty`, [b],
    have no relevant point, as bounds of a neuron contradict each other. None of these is passed on.
    """

    lower: Array
    upper: Array
    known: dict[int, Interval]
    slope: Array
    shift: Array
    node: Positions = field(default_factory=lambda: np.zeros(0, np.int64))
    query: Positions = field(default_factory=lambda: np.zeros(0, np.int64))
    hull: list[Interval] = field(default_factory=list)
    reach: list[Array] = field(default_factory=list)
    slip: list[Array] = field(default_factory=list)
    relaxed: dict[int, tuple[Lines, Positions | None]] = field(default_factory=dict)
    empty: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, np.bool_))

    def __len__(self) -> int:
        return len(self.lower)

    def __getitem__(self, index: NDArray[np.bool_] | slice) -> Boxes:
        return _mapped(lambda arrays: arrays[0][index], self)


def joined(first: Boxes, second: Boxes) -> Boxes:
    """All boxes of both."""
    return _mapped(np.concatenate, first, second)


def _mapped(make: Callable[[list[Any]], Any], *parts: Boxes) -> Boxes:
    lower, upper, slope, shift, node, query = (
        make([getattr(part, name) for part in parts])
        for name in ("lower", "upper", "slope", "shift", "node", "query")
    )
    known = {
        k: (make([p.known[k][0] for p in parts]), make([p.known[k][1] for p in parts]))
        for k in parts[0].known
    }
    return Boxes(lower, upper, known, slope, shift, node, query)


def minimum(boxes: Boxes, slope: Array, shift: Array) -> Array:
    r"""A lower bound of A x + c over the relevant points of each box: [b, s]; -inf for no finite one.

    For every $\mu \ge 0$ it is at least $\min_{x \in box} A x + c + \mu (a x + k)$ (weak duality); the
    best mu is 0 or one at which an entry of A + mu a vanishes.
    """
    n = slope.shape[2]
    share, (centre, radius) = 2 * gamma(2 * n + 8), ball(boxes.lower, boxes.upper)
    reach = above(np.abs(centre) + radius)
    tiny = TINY * (1 + reach.sum(axis=1, keepdims=True)) * 4

    def measured(rows: Array, constant: Array) -> tuple[Array, Array]:
        size = times(np.abs(rows), reach) + np.abs(constant)
        return times(rows, centre) + constant, share * size + tiny

    value, loss = measured(slope, shift)
    best = down(value - times(np.abs(slope), radius) - loss)
    best = np.where(best < np.inf, best, -np.inf)
    if not boxes.slope.any():
        return best
    a = boxes.slope[:, None]
    cut_value, cut_loss = measured(a, boxes.shift)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for i in range(n):
            mu = -slope[:, :, i] / a[:, :, i]
            mu = np.where((mu > 0) & (mu < np.inf), mu, 0.0)
            spread = times(np.abs(slope + mu[:, :, None] * a), radius)
            trial = down(value + mu * (cut_value - cut_loss) - spread - loss)
            best = np.where((trial > best) & (trial < np.inf), trial, best)
    return best


def contract(boxes: Boxes, slope: Array, shift: Array) -> Interval:
    """The hull of the points of each box [b, n] where every row A x + c may be at most 0.

    A_i x_i <= -c - sum over j != i of min(A_j x_j); empty hulls come out with lower above upper.
    """
    lower, upper = boxes.lower, boxes.upper
    share = 2 * gamma(2 * lower.shape[1] + 8)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for a, c in zip(slope.swapaxes(0, 1), shift.T[:, :, None], strict=True):
            least = np.minimum(a * lower, a * upper)
            size = np.abs(c) + np.abs(least).sum(axis=1, keepdims=True)
            room = least - c - least.sum(axis=1, keepdims=True)
            limit = up(room + (share * size + TINY)) / a
            # A limit that is not a number is none: fmin and fmax pass over it.
            upper = np.where(a > 0, np.fmin(upper, up(limit)), upper)
            lower = np.where(a < 0, np.fmax(lower, down(limit)), lower)
    return lower, upper
