"""Inserted layers on grids: every shape that they lead to, at the least price."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from layerwise.shapes.ranges import Flags
from repairsolver.architecture.adapters import GROWTH, SMALL
from repairsolver.architecture.bounding.grid import (
    Array,
    Grid,
    Limits,
    cut,
    least,
    limit_of,
    minimum,
    relimited,
)
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.model import Framework

Sources: TypeAlias = tuple[npt.NDArray[np.int64], ...]
"""For each entry of an axis, entries that lead to it."""


class GridInsertions:
    """What can be inserted on an edge; see `Insertions`, which does the same on boxes."""

    def __init__(self, framework: Framework, costs: Costs, limits: Limits) -> None:
        self.keras = framework == "keras"
        self.price, self.limits, self.collapse = costs.adapters, limits, costs.collapse

    def pooled(self, grid: Grid, room: float) -> Grid:
        """With a global pool as the last insertion."""
        if self.collapse or not self.keras:
            return grid
        last = {rank: array.copy() for rank, array in grid.items()}
        for rank in grid.keys() & {2, 3, 4}:
            minimum(last, 1, self._pool(grid[rank], list(range(rank - 1))))
        return cut(last, room)

    def closed(self, grid: Grid, room: float) -> Grid:
        """Any number of insertions, in any order; global pools among them only if axes may collapse."""
        done = {rank: array.copy() for rank, array in cut(grid, room).items()}
        if least(done) + min(self.price.values()) > room:
            return done
        # A reshape of a reshape is one reshape: these sources leave out what reshapes alone lead to.
        sources = {rank: array.copy() for rank, array in done.items()}
        while True:
            before = {rank: array.copy() for rank, array in done.items()}
            self._reshape(sources, done)
            for rank in self.limits:
                for array, target in self._once(before[rank], rank, room):
                    minimum(done, target, array)
                    minimum(sources, target, array)
            done, sources = cut(done, room), cut(sources, room)
            if all(np.array_equal(before[rank], done[rank]) for rank in self.limits):
                return done

    def _once(self, array: Array, rank: int, room: float) -> Iterator[tuple[Array, int]]:
        if not np.isfinite(array).any():
            return
        for order in permutations(range(rank)):
            if list(order) != sorted(order):
                yield array.transpose(order) + self.price["Permute"], rank
        width = rank - 1 if self.keras else 0
        if self.keras or rank <= 4:
            yield _any(array, width) + self.price["Project"], rank
        if not 2 <= rank <= 4:
            return
        axes = [axis for axis in range(rank) if axis != width]
        for name, move in _MOVES.items():
            if name in self.price and (self.keras or name not in _KERAS_ALONE):
                moved = array
                for axis in axes:
                    moved = _along(moved, axis, move(limit_of(array), self.collapse))
                if name == "Pool":
                    # A pool that leaves no positions is a global pool.
                    moved = moved.copy()
                    moved[tuple(0 if axis in axes else slice(None) for axis in range(rank))] = np.inf
                yield moved + self.price[name], rank
        for name, within in (("Pad", _padded), ("Crop", _cropped if self.collapse else _cropped_less)):
            yield self._within_four(array, axes, within) + self.price[name], rank
        strided = array
        for axis in axes:
            strided = _along(strided, axis, _strides(limit_of(array), self.collapse))
        yield _any(strided, width) + self.price["Stride"], rank
        if self.keras and self.collapse:
            yield self._pool(array, axes), 1

    def _pool(self, array: Array, axes: list[int]) -> Array:
        return relimited(array.min(axis=tuple(axes)), self.limits[1]) + self.price["GlobalPool"]

    def _within_four(self, array: Array, axes: list[int], move: Callable[[Array], Array]) -> Array:
        """Small amounts count as small while no axis is beyond 4."""
        inside = np.full_like(array, np.inf)
        part = tuple(slice(0, 4) if axis in axes else slice(None) for axis in range(array.ndim))
        moved = array[part]
        for axis in axes:
            moved = np.moveaxis(move(np.moveaxis(moved, axis, 0)), 0, axis)
        inside[part] = moved
        return inside

    def _reshape(self, sources: Grid, grid: Grid) -> None:
        """The least price of every number of elements, then every shape with that number."""
        other = min(self.price["Flatten"], self.price["Reshape"])
        same = min(self.price["Scramble"], 2 * other)
        flat = {rank: array.ravel() for rank, array in sources.items()}
        for rank, reached in reshaped(flat, self.limits).items():
            for source, array in reached.items():
                minimum(grid, rank, array + (same if source == rank else other))


def reshaped(flat: dict[int, Array], limits: Limits) -> dict[int, dict[int, Array]]:
    """Target rank and source rank to the least price of the sources with the same number of elements.

    An entry with joined sizes stands for all multiples of its known sizes from some number on.
    """
    found: dict[int, dict[int, Array]] = {rank: {} for rank in limits}
    top = max(limit**rank for rank, limit in limits.items())
    for source, prices in flat.items():
        if not np.isfinite(prices).any():
            continue
        counts = _counts(source, limits[source])
        by_total = _by_total(prices, counts, top)
        anything = float(prices[counts.joined].min(initial=np.inf))
        for rank, limit in limits.items():
            target = _counts(rank, limit)
            out = by_total[np.minimum(target.total, top)]
            at_least = [by_total[first::known].min(initial=np.inf) for known, first in target.multiples]
            out[target.joined] = np.minimum(np.asarray(at_least)[target.inverse], anything)
            found[rank][source] = out.reshape((limit + 1,) * rank)
    return found


def _by_total(prices: Array, counts: _Counts, top: int) -> Array:
    """The least price of every number of elements up to `top`."""
    by_total = np.full(top + 1, np.inf)
    exact = ~counts.joined
    np.minimum.at(by_total, counts.total[exact], prices[exact])
    lowest = np.full(len(counts.multiples), np.inf)
    np.minimum.at(lowest, counts.inverse, prices[counts.joined])
    for (known, first), price in zip(counts.multiples, lowest, strict=True):
        if np.isfinite(price):
            np.minimum(by_total[first::known], price, out=by_total[first::known])
    return by_total


@dataclass(frozen=True)
class _Counts:
    """Numbers of elements of the entries of a rank.

    Args:
        total: of each entry, with joined sizes at their least.
        joined: whether some size of the entry is a joined one.
        multiples: (product of the known sizes, least total) of entries with joined sizes.
        inverse: which of these each joined entry is.
    """

    total: npt.NDArray[np.int64]
    joined: Flags
    multiples: tuple[tuple[int, int], ...]
    inverse: npt.NDArray[np.int64]


@lru_cache(maxsize=16)
def _counts(rank: int, limit: int) -> _Counts:
    sizes = np.indices((limit + 1,) * rank).reshape(rank, -1) + 1
    total = sizes.prod(axis=0)
    joined = (sizes > limit).any(axis=0)
    known = np.where(sizes > limit, 1, sizes).prod(axis=0)
    pairs = np.column_stack([known[joined], total[joined]])
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    return _Counts(total, np.asarray(joined), tuple(map(tuple, unique.tolist())), inverse.ravel())


def _any(array: Array, axis: int) -> Array:
    return np.broadcast_to(array.min(axis=axis, keepdims=True), array.shape)


def _along(array: Array, axis: int, sources: Sources) -> Array:
    """Entry m becomes the least of the entries that lead to m."""
    moved = np.moveaxis(array, axis, 0)
    out = np.stack([moved[s].min(axis=0) if len(s) else np.full_like(moved[0], np.inf) for s in sources])
    return np.moveaxis(out, 0, axis)


@lru_cache(maxsize=128)
def _sources(limit: int, name: str, collapse: bool) -> Sources:
    """For each entry of an axis those from which a change of that kind leads to it."""
    test, sizes = _TESTS[name], range(1, limit + 2)
    lists = []
    for m in sizes:
        found = [n - 1 for n in sizes if test(n, m, limit + 1) and (collapse or m > 1 or n == 1)]
        lists.append(np.asarray(found, dtype=np.int64))
    return tuple(lists)


def _multiple(n: int, m: int, gap: int) -> bool:
    return n == gap if m > gap else (m == gap or (n < gap and m % n == 0))


def _stride(n: int, m: int, gap: int) -> bool:
    """ceil(n / s) = m for the stride s = ceil(n / m)."""
    if n == gap:
        return True
    return m < gap and m <= n and -(-n // -(-n // m)) == m


_TESTS = {
    "Pad": lambda n, m, gap: n <= m and 3 * m <= 4 * n,
    "LargePad": lambda n, m, gap: n <= m <= max(GROWTH * n, SMALL),
    "Crop": lambda n, m, gap: m <= n and 4 * m >= 3 * n,
    "LargeCrop": lambda n, m, gap: m <= n,
    "Upsample": lambda n, m, gap: 2 * n >= gap if m == gap else n < gap and m % n == 0 and m <= 2 * n,
    "LargeUpsample": lambda n, m, gap: (
        max(GROWTH * n, SMALL) >= gap if m == gap else n < gap and m % n == 0 and m <= max(GROWTH * n, SMALL)
    ),
    "Pool": lambda n, m, gap: n == gap or (m < gap and n % m == 0),
    "Stride": _stride,
}


def _mover(name: str) -> Callable[[int, bool], Sources]:
    return lambda limit, collapse: _sources(limit, name, collapse)


_KERAS_ALONE = ("Upsample", "LargeUpsample", "Pool")
_MOVES = {name: _mover(name) for name in ("Pad", "LargePad", "Crop", "LargeCrop", *_KERAS_ALONE)}
_strides = _mover("Stride")


def _padded(moved: Array) -> Array:
    return np.minimum.accumulate(moved, axis=0)


def _cropped(moved: Array) -> Array:
    return np.minimum.accumulate(moved[::-1], axis=0)[::-1]


def _cropped_less(moved: Array) -> Array:
    """Nothing but a size of 1 leads to it."""
    return np.concatenate([moved[:1], _cropped(moved[1:])])
