"""Sets of shapes with the least price at which they are reached, as arrays; what others cover is dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from layerwise.shapes.ranges import Flags, Numbers, Range
from repairsolver.architecture.bounding.deadline import TimeUpError

Prices: TypeAlias = npt.NDArray[np.int64]
CHUNK = 128
MOST = 100_000
"""More states of one kind than these are not compared with each other in reasonable time."""


@dataclass(frozen=True)
class States:
    """Boxes of shapes, one a row.

    Args:
        low: least sizes, (states, axes of all tensors one after the other).
        high: largest sizes; infinite where nothing bounds them.
        cost: (states,), the least price of edits that lead there.
    """

    low: Numbers
    high: Numbers
    cost: Prices

    def __len__(self) -> int:
        return len(self.cost)

    def rows(self, chosen: npt.NDArray[np.int64] | Flags | np.bool) -> States:
        """Some of the rows."""
        return States(self.low[chosen], self.high[chosen], self.cost[chosen])

    def columns(self, order: Sequence[int]) -> States:
        """Some of the columns."""
        index = np.asarray(order, dtype=np.int64)
        return States(self.low[:, index], self.high[:, index], self.cost)

    def axes(self, columns: Iterable[int]) -> tuple[Range, ...]:
        """Columns as ranges, for the layer rules."""
        return tuple(Range(self.low[:, i], self.high[:, i]) for i in columns)

    def dearer(self, price: int | Prices) -> States:
        """The same at a higher price."""
        return States(self.low, self.high, self.cost + price)

    def with_axes(self, axes: Sequence[Range | int]) -> States:
        """The same with more columns behind."""
        ranges = [Range.of(axis) for axis in axes]
        shape = (len(self),)
        low = [np.broadcast_to(r.low, shape)[:, None] for r in ranges]
        high = [np.broadcast_to(r.high, shape)[:, None] for r in ranges]
        return States(
            np.concatenate([self.low, *low], axis=1), np.concatenate([self.high, *high], axis=1), self.cost
        )


Table: TypeAlias = dict[tuple[int, ...], States]
"""Ranks of the tensors that are alive together, to their states."""


def point(shape: Sequence[int], cost: int) -> States:
    """One shape."""
    sizes = np.asarray([shape], dtype=np.float64).reshape(1, len(shape))
    return States(sizes, sizes, np.asarray([cost], dtype=np.int64))


def anything(rank: int) -> States:
    """All shapes of a rank, at no price."""
    return States(np.ones((1, rank)), np.full((1, rank), np.inf), np.zeros(1, dtype=np.int64))


def stacked(parts: Sequence[States]) -> States:
    """All rows of states with the same columns."""
    return States(
        np.concatenate([s.low for s in parts]),
        np.concatenate([s.high for s in parts]),
        np.concatenate([s.cost for s in parts]),
    )


def pruned(states: States, room: float) -> States:
    """Without what is empty, dearer than `room`, or within a box that is not dearer.

    Raises:
        TimeUpError: too many are left.
    """
    low = np.maximum(states.low, 1)
    good = (states.cost <= room) & (low <= states.high).all(axis=1)
    states = States(low, states.high, states.cost).rows(good)
    if len(states) < 2:
        return states
    if len(states) > MOST:
        raise TimeUpError
    table = np.column_stack([states.cost, states.low, states.high])
    table = np.unique(table, axis=0)
    axes = states.low.shape[1]
    states = States(table[:, 1 : 1 + axes], table[:, 1 + axes :], table[:, 0].astype(np.int64))
    with np.errstate(invalid="ignore"):
        volume = np.log2(states.high - states.low + 1).sum(axis=1)
    return _uncovered(states.rows(np.lexsort((-volume, states.cost))))


def _uncovered(states: States) -> States:
    """Rows in order of price and size: each stays unless an earlier one holds it."""
    kept = states.rows(np.zeros(0, dtype=np.int64))
    for start in range(0, len(states), CHUNK):
        chunk = states.rows(np.arange(start, min(start + CHUNK, len(states))))
        if len(kept):
            chunk = chunk.rows(~_covers(kept, chunk).any(axis=0))
        inside = np.triu(_covers(chunk, chunk), k=1)
        chunk = chunk.rows(~inside.any(axis=0))
        kept = stacked([kept, chunk])
    return kept


def _covers(outer: States, inner: States) -> Flags:
    """(outer, inner): whether one box holds the other at no higher price."""
    holds = outer.cost[:, None] <= inner.cost[None, :]
    for axis in range(outer.low.shape[1]):
        holds &= outer.low[:, axis, None] <= inner.low[None, :, axis]
        holds &= outer.high[:, axis, None] >= inner.high[None, :, axis]
    return holds


def pairs(one: States, other: States, room: float) -> tuple[States, States]:
    """All pairs of rows that are not dearer than `room` together; the price is that of both, in the first."""
    order = np.argsort(other.cost, kind="stable")
    other = other.rows(order)
    count = np.searchsorted(other.cost, room - one.cost, side="right")
    left = np.repeat(np.arange(len(one)), count)
    starts = np.concatenate([[0], np.cumsum(count)[:-1]])
    right = np.arange(len(left)) - np.repeat(starts, count)
    a, b = one.rows(left), other.rows(right)
    return States(a.low, a.high, a.cost + b.cost), b


def least(table: Table) -> float:
    """The least price in a table; infinite where it is empty."""
    return min((int(states.cost.min()) for states in table.values() if len(states)), default=float("inf"))


def collected(found: Iterable[tuple[tuple[int, ...], States]], room: float) -> Table:
    """States by ranks, pruned."""
    lists: dict[tuple[int, ...], list[States]] = {}
    for ranks, states in found:
        if len(states):
            lists.setdefault(ranks, []).append(states)
    table = {ranks: pruned(stacked(parts), room) for ranks, parts in lists.items()}
    return {ranks: states for ranks, states in table.items() if len(states)}
