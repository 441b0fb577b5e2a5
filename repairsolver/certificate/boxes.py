r"""Boxes of inputs, and what linear functions say about their relevant points, rigorously rounded.

The *relevant* points of a box are those at which the conjunction asked about holds. A bound of a neuron,
a half-space or a smaller box is valid if no relevant point contradicts it; a box in which bounds contradict
each other, lower above upper, has no relevant point, and anything is true of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repairsolver.certificate import strategy
from repairsolver.certificate.arithmetic import TINY, Interval, ball, down, frozen, gamma, reach, times, up
from repairsolver.results import Array


@dataclass(slots=True, eq=False)
class Boxes:
    """Boxes with what is known at their relevant points.

    Args:
        bounds: of every tensor, by position, [b, size] each; the first is the box.
        slope, shift: a half-space a x + k <= 0 for each box, zero for none: a [b, n] and k [b, 1].
        node, query: where in a tree a box stands, and what is asked there, [b].
    """

    bounds: list[Interval]
    slope: Array
    shift: Array
    node: NDArray[np.int64]
    query: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.node)

    def __getitem__(self, index: NDArray[np.bool_] | slice) -> Boxes:
        bounds = [(lower[index], upper[index]) for lower, upper in self.bounds]
        return Boxes(bounds, self.slope[index], self.shift[index], self.node[index], self.query[index])

    def narrow(self, position: int, bounds: Interval) -> None:
        """Take what is known of a tensor together with new bounds (NaN for none)."""
        lower, upper = self.bounds[position]
        self.bounds[position] = np.fmax(lower, bounds[0]), np.fmin(upper, bounds[1])

    def contradictory(self) -> NDArray[np.bool_]:
        """Which boxes have no relevant point, [b]."""
        return np.asarray(np.any([(lower > upper).any(axis=1) for lower, upper in self.bounds], axis=0))


def joined(first: Boxes, second: Boxes) -> Boxes:
    """All boxes of both."""
    pairs = zip(first.bounds, second.bounds, strict=True)
    bounds = [(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])) for a, b in pairs]
    names = ("slope", "shift", "node", "query")
    rest = (np.concatenate([getattr(part, name) for part in (first, second)]) for name in names)
    return Boxes(bounds, *rest)


def minimum(boxes: Boxes, slope: Array, shift: Array) -> Array:
    r"""A lower bound of A x + c over the relevant points of each box: [b, s]; -inf for no finite one.

    It is at least $\min_{x \in box} A x + c + \mu (a x + k)$ for every $\mu \ge 0$ (weak duality).
    """
    bounds, a, k = boxes.bounds[0], boxes.slope[:, None], boxes.shift
    (centre, radius), size = ball(*bounds), reach(bounds)
    share, tiny = 2 * gamma(2 * slope.shape[2] + 8), 4 * TINY * (1 + size.sum(axis=1, keepdims=True))
    mu = np.fmax(np.array(strategy.multipliers(*frozen(slope, shift, a, k, centre, radius)), np.float64), 0)
    rows = slope + mu[:, :, None] * a
    terms = times(np.abs(slope), size) + np.abs(shift) + mu * (times(np.abs(a), size) + np.abs(k))
    value = times(rows, centre) - times(np.abs(rows), radius) + (shift + mu * k)
    return np.fmax(down(value - (share * terms + tiny)), -np.inf)


def contract(boxes: Boxes, slope: Array, shift: Array) -> Interval:
    """The hull of the points of each box [b, n] where every row A x + c may be at most 0.

    A_i x_i <= -c - sum over j != i of min(A_j x_j); empty hulls come out with lower above upper.
    """
    lower, upper = boxes.bounds[0]
    share = 2 * gamma(2 * lower.shape[1] + 8)
    for a, c in zip(slope.swapaxes(0, 1), shift.T[:, :, None], strict=True):
        least = np.minimum(a * lower, a * upper)
        size = np.abs(c) + np.abs(least).sum(axis=1, keepdims=True)
        room = least - c - least.sum(axis=1, keepdims=True)
        limit = up(room + (share * size + TINY)) / a
        # A limit that is not a number is none: fmin and fmax pass over it.
        upper = np.where(a > 0, np.fmin(upper, up(limit)), upper)
        lower = np.where(a < 0, np.fmax(lower, down(limit)), lower)
    return lower, upper
