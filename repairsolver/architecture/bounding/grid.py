"""Prices of all shapes of one tensor at once: an array for each rank, an entry for each size along each axis.

Sizes from 1 to a limit have entries of their own; the last entry of an axis stands for all larger sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from repairsolver.architecture.bounding.states import States

Array: TypeAlias = npt.NDArray[np.float64]
Grid: TypeAlias = dict[int, Array]
"""Rank to prices; infinite where no edits lead there."""

Limits: TypeAlias = Mapping[int, int]
"""Largest size with an entry of its own, by rank."""

LIMITS: tuple[Limits, ...] = (
    {1: 400, 2: 40, 3: 16, 4: 9, 5: 6, 6: 4},
    {1: 1600, 2: 90, 3: 28, 4: 14, 5: 8, 6: 5},
)
"""Grids in the order in which they are tried: a finer one where the path leads through joined sizes."""


def empty(ranks: Sequence[int], limits: Limits) -> Grid:
    """No shape at any price."""
    return {rank: np.full((limits[rank] + 1,) * rank, np.inf) for rank in ranks}


def limit_of(array: Array) -> int:
    """The largest size with an entry of its own; the array has one axis at least."""
    return int(array.shape[0]) - 1


def price_at(grid: Grid, shape: Sequence[int]) -> float:
    """The price of a shape; NaN where it has no entry of its own."""
    if len(shape) not in grid or any(size > limit_of(grid[len(shape)]) for size in shape):
        return float("nan")
    return float(grid[len(shape)][tuple(size - 1 for size in shape)])


def place(grid: Grid, shape: Sequence[int]) -> tuple[int, ...]:
    """The entry of a shape."""
    limit = limit_of(grid[len(shape)])
    return tuple(min(size - 1, limit) for size in shape)


def minimum(grid: Grid, rank: int, array: Array) -> None:
    """Lower the prices of one rank, in place."""
    np.minimum(grid[rank], array, out=grid[rank])


def least(grid: Grid) -> float:
    """The least price."""
    return min(float(array.min()) for array in grid.values())


def cut(grid: Grid, room: float) -> Grid:
    """Without prices beyond `room`."""
    return {rank: np.where(array <= room, array, np.inf) for rank, array in grid.items()}


@lru_cache(maxsize=16)
def _bounds(rank: int, limit: int) -> tuple[Array, Array]:
    """Least and largest sizes of all entries of a rank, (entries, rank)."""
    index = np.indices((limit + 1,) * rank).reshape(rank, -1).T
    low = (index + 1).astype(np.float64)
    return low, np.where(index == limit, np.inf, low)


def states(grid: Grid, rank: int) -> States:
    """The entries of a rank that have a price, as boxes."""
    flat = grid[rank].ravel()
    chosen = np.flatnonzero(np.isfinite(flat))
    low, high = _bounds(rank, limit_of(grid[rank]))
    return States(low[chosen], high[chosen], flat[chosen].astype(np.int64))


def spread(grid: Grid, rank: int, boxes: States) -> None:
    """Lower the prices of all entries that meet a box."""
    limit = limit_of(grid[rank])
    low, high = np.maximum(boxes.low, 1), boxes.high
    good = (low <= high).all(axis=1)
    first = np.minimum(low[good] - 1, limit).astype(np.int64)
    last = np.minimum(high[good] - 1, limit).astype(np.int64)
    cost = boxes.cost[good].astype(np.float64)
    single = (first == last).all(axis=1)
    np.minimum.at(grid[rank], tuple(first[single].T), cost[single])
    if single.all():
        return
    table = np.column_stack([first[~single], last[~single], cost[~single]]).astype(np.int64)
    table = table[np.lexsort(table.T[::-1])]
    new = np.append(True, (table[1:, :-1] != table[:-1, :-1]).any(axis=1))
    for row in table[new].tolist():
        view = grid[rank][tuple(slice(a, b + 1) for a, b in zip(row[:rank], row[rank:-1], strict=True))]
        np.minimum(view, row[-1], out=view)


def resized(array: Array, axis: int, limit: int) -> Array:
    """The same prices with another limit along one axis: larger sizes are joined, or taken apart."""
    moved = np.moveaxis(array, axis, 0)
    have = len(moved) - 1
    if limit < have:
        out = np.concatenate([moved[:limit], moved[limit:].min(axis=0, keepdims=True)])
    else:
        out = np.concatenate([moved[:have], np.repeat(moved[have:], limit - have + 1, axis=0)])
    return np.moveaxis(out, 0, axis)


def relimited(array: Array, limit: int) -> Array:
    """All axes with another limit."""
    for axis in range(array.ndim):
        array = resized(array, axis, limit)
    return array
