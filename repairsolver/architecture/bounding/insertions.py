"""All shapes that inserted layers can make of a tensor, in any number and order, as boxes with prices."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import permutations

import numpy as np

from layerwise.shapes.ranges import Numbers
from repairsolver.architecture.adapters import GROWTH, SMALL
from repairsolver.architecture.bounding.deadline import FOREVER, Deadline
from repairsolver.architecture.bounding.states import States, Table, collected
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.model import Framework

LISTED = 1500
"""Reshape targets of one rank are listed up to so many; beyond that a box stands for all of them."""
Found = Iterator[tuple[int, States]]


class Insertions:
    """What can be inserted on an edge.

    Args:
        framework: whose layers are inserted: Keras keeps the width behind the positions, torch in front.
        costs: their prices.
        ranks: the ranks that tensors may have.
        deadline: raises `TimeUpError`.
    """

    def __init__(
        self, framework: Framework, costs: Costs, ranks: tuple[int, ...], deadline: Deadline = FOREVER
    ) -> None:
        self.keras = framework == "keras"
        self.prices, self.collapse = dict(costs.adapters), costs.collapse
        self.ranks, self.deadline = ranks, deadline
        self.cheapest = min(self.prices.values())

    def closed(self, table: Table, room: float) -> Table:
        """The table with everything that insertions make of the last tensor of its states."""
        done = self._grown(table, room)
        if self.collapse or not self.keras:
            return done
        pooled = [
            ((*ranks[:-1], 1), self._pooled(s, ranks[-1])) for ranks, s in done.items() if 2 <= ranks[-1] <= 4
        ]
        return collected([*done.items(), *pooled], room)

    def _grown(self, table: Table, room: float) -> Table:
        """Any number of insertions, in any order; global pools among them only if axes may collapse."""
        done = collected(table.items(), room)
        fresh = done
        while fresh:
            self.deadline.check()
            found = [
                ((*ranks[:-1], rank), made)
                for ranks, states in fresh.items()
                for rank, made in self._once(states.rows(states.cost + self.cheapest <= room), ranks[-1])
            ]
            grown = collected([*done.items(), *found], room)
            fresh = {ranks: _new(states, done.get(ranks)) for ranks, states in grown.items()}
            fresh = {ranks: states for ranks, states in fresh.items() if len(states)}
            done = grown
        return done

    def reshaped(self, states: States, rank: int, price: int) -> Found:
        """All shapes of every rank with the same number of elements."""
        if not len(states):
            return
        last = np.arange(states.low.shape[1])[states.low.shape[1] - rank :]
        low, high = states.low[:, last].prod(axis=1), states.high[:, last].prod(axis=1)
        rest = States(states.low[:, : last[0]], states.high[:, : last[0]], states.cost + price)
        exact = low == high
        for target in self.ranks:
            wide = rest.rows(~exact)
            if len(wide):
                yield target, _boxed(wide, np.ones((len(wide), target)), _column(high[~exact], target))
            for total in np.unique(low[exact]):
                rows = rest.rows(exact & (low == total))
                shapes = factorisations(int(total), target)
                if shapes is None:
                    ones = np.ones((len(rows), target))
                    yield target, _boxed(rows, ones, ones * total)
                    continue
                many = rows.rows(np.repeat(np.arange(len(rows)), len(shapes)))
                sizes = np.tile(shapes, (len(rows), 1))
                yield target, _boxed(many, sizes, sizes)

    def _once(self, states: States, rank: int) -> Found:
        if not len(states):
            return
        price = self.prices
        for target, made in self.reshaped(states, rank, min(price["Flatten"], price["Reshape"])):
            if target != rank:
                yield target, made
            else:
                yield target, made.dearer(price["Scramble"] - min(price["Flatten"], price["Reshape"]))
        yield from self._permuted(states, rank)
        if 2 <= rank <= 4:
            yield from self._resized(states, rank)
        if self.keras or rank <= 4:
            yield rank, self._width(states, rank).dearer(price["Project"])

    def _permuted(self, states: States, rank: int) -> Found:
        axes = states.low.shape[1]
        head = list(range(axes - rank))
        for order in permutations(range(axes - rank, axes)):
            if list(order) != sorted(order):
                yield rank, states.columns([*head, *order]).dearer(self.prices["Permute"])

    def _resized(self, states: States, rank: int) -> Found:
        """Padding and cropping, small and large; upsampling, pools and strided projections; a global pool."""
        price, axes = self.prices, states.low.shape[1]
        places = range(axes - rank, axes - 1) if self.keras else range(axes - rank + 1, axes)
        at = np.asarray(places)
        low, high = states.low[:, at], states.high[:, at]
        one = np.ones_like(low) if self.collapse else np.where(low > 1, 2.0, 1.0)
        boxes = [
            ("Pad", low, np.floor(4 * high / 3)),
            ("Pad", low, np.full_like(low, 4)),
            ("LargePad", low, np.maximum(GROWTH * high, SMALL)),
            ("Crop", np.ceil(3 * low / 4), high),
            ("Crop", np.where((low <= 4).all(axis=1, keepdims=True), one, np.inf), np.minimum(high, 4)),
            ("LargeCrop", one, high),
        ]
        if self.keras:
            boxes += [("Upsample", low, 2 * high), ("LargeUpsample", low, np.maximum(GROWTH * high, SMALL))]
            boxes.append(("Pool", one, high))
        for name, below, above in boxes:
            yield rank, _replaced(states, at, below, above).dearer(price[name])
        strided = _replaced(states, at, one, high)
        yield rank, self._width(strided, rank).dearer(price["Stride"])
        if self.keras and self.collapse:
            yield 1, self._pooled(states, rank)

    def _pooled(self, states: States, rank: int) -> States:
        """A global pool, which leaves the width."""
        axes = states.low.shape[1]
        kept = [*range(axes - rank), axes - 1]
        return states.columns(kept).dearer(self.prices["GlobalPool"])

    def _width(self, states: States, rank: int) -> States:
        """Any width."""
        axes = states.low.shape[1]
        at = np.asarray([axes - 1 if self.keras else axes - rank])
        one = np.ones((len(states), 1))
        return _replaced(states, at, one, one * np.inf)


def _replaced(
    states: States, at: np.ndarray[tuple[int], np.dtype[np.int64]], low: Numbers, high: Numbers
) -> States:
    below, above = states.low.copy(), states.high.copy()
    below[:, at], above[:, at] = low, high
    return States(below, above, states.cost)


def _boxed(rest: States, low: Numbers, high: Numbers) -> States:
    return States(np.hstack([rest.low, low]), np.hstack([rest.high, high]), rest.cost)


def _column(values: Numbers, count: int) -> Numbers:
    return np.repeat(values[:, None], count, axis=1)


def _new(states: States, before: States | None) -> States:
    """Rows that were not there before."""
    if before is None or not len(before):
        return states
    known = {row.tobytes() for row in np.column_stack([before.cost, before.low, before.high])}
    table = np.column_stack([states.cost, states.low, states.high])
    return states.rows(np.asarray([row.tobytes() not in known for row in table], dtype=bool))


@lru_cache(maxsize=4096)
def factorisations(total: int, rank: int) -> Numbers | None:
    """All shapes of a rank with so many elements, (shapes, rank); None if they are too many to list."""
    found: list[tuple[int, ...]] = []
    for shape in _factors(total, rank):
        found.append(shape)
        if len(found) > LISTED:
            return None
    return np.asarray(found, dtype=np.float64)


def _factors(total: int, rank: int) -> Iterator[tuple[int, ...]]:
    if rank == 1:
        yield (total,)
        return
    for size in _divisors(total):
        for rest in _factors(total // size, rank - 1):
            yield (size, *rest)


@lru_cache(maxsize=4096)
def _divisors(number: int) -> tuple[int, ...]:
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(dict.fromkeys([*small, *(number // d for d in reversed(small))]))
