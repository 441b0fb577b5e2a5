"""The repair behind a bound: back from the output through the grids, with numbers for changed arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from repairsolver.architecture.adapters import Adapters
from repairsolver.architecture.bounding import grid as grids
from repairsolver.architecture.bounding.deadline import FOREVER, Deadline
from repairsolver.architecture.bounding.grid import Grid, Limits, limit_of, price_at
from repairsolver.architecture.bounding.grid_sweep import TreeSweep
from repairsolver.architecture.bounding.insertions import factorisations
from repairsolver.architecture.bounding.options import Arguments, Options
from repairsolver.architecture.bounding.solving import argument_changes
from repairsolver.architecture.bounding.states import States
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Layer, Shape


class UnrealisedError(Exception):
    """No repair of that price was read off the grids."""


class Trace:
    """Reads one cheapest repair off a finished sweep.

    Args:
        sweep: after its run.
        deadline: for the reading.

    Raises (`edits`): `UnrealisedError` where the path leads through joined sizes, or no numbers fit;
        `TimeUpError`.
    """

    def __init__(self, sweep: TreeSweep, deadline: Deadline = FOREVER) -> None:
        self.sweep, self.model, self.costs = sweep, sweep.model, sweep.costs
        self.deadline = deadline
        self.layers = {layer.name: layer for layer in self.model.layers}

    def edits(self) -> tuple[Edit, ...]:
        """The edits, in the order in which they apply."""
        found: list[Edit] = []
        for name in sorted(self.sweep.alive):
            wanted = self.model.outputs.get(name)
            if wanted is None:
                found += self._tensor(name, *_cheapest(self.sweep.grids[name]))
            elif self.sweep.redeclared(name) <= price_at(self.sweep.closed[name, -1], wanted):
                shape, price = _cheapest(self.sweep.grids[name])
                edit = Edit("output", name, "declared shape", shape, self.costs.declared, before=wanted)
                found += [*self._tensor(name, shape, price), edit]
            else:
                found += self._edge(name, name, -1, wanted)
        return tuple(found)

    def _tensor(self, name: str, shape: Shape, price: float) -> list[Edit]:
        """Edits after which the tensor has the shape, at that price."""
        if name in self.model.inputs:
            return list(self._input(name, shape))
        layer = self.layers[name]
        options = Options(self.model, self.costs, layer, self.sweep.boxes)
        if len(layer.inputs) > 1:
            return self._merge(options, layer, shape, price)
        source = layer.inputs[0]
        kept = price - options.removal()
        if price_at(self.sweep.grids[source], shape) == kept:
            gone = Edit("remove", name, layer.kind, cost=options.removal())
            return [*self._tensor(source, shape, kept), gone]
        for feed, changes in self._uses(options, shape, price):
            return [*self._edge(source, name, 0, feed), *changes]
        raise UnrealisedError

    def _input(self, name: str, shape: Shape) -> Iterator[Edit]:
        before = self.model.inputs[name]
        if name in self.model.declared:
            built = self.model.declared[name]
            yield Edit("input", name, "declared shape", shape, self.costs.declared, before=built)
        elif shape != before:
            yield Edit("input", name, "shape", shape, self.costs.input_layout, before=before)

    def _uses(self, options: Options, shape: Shape, price: float) -> Iterator[tuple[Shape, list[Edit]]]:
        """Input shapes with the changes of the layer after which it gives the shape at the price."""
        closed = self.sweep.closed[options.layer.name, 0]
        for rank in self.sweep.ranks:
            cells = grids.states(closed, rank)
            exact = np.isfinite(cells.high).all(axis=1)
            cells = cells.rows(exact)
            if not len(cells):
                continue
            for form, swap in options.forms():
                left = price - sum(edit.cost for edit in swap)
                for row, args, refit in form.leading(cells, rank, shape, left):
                    self.deadline.check()
                    feed = tuple(int(n) for n in cells.low[row])
                    changes = argument_changes(form, feed, shape, args, refit)
                    if changes is not None:
                        yield feed, [*swap, *changes]

    def _merge(self, options: Options, layer: Layer, shape: Shape, price: float) -> list[Edit]:
        closed = [self.sweep.closed[layer.name, slot] for slot in range(len(layer.inputs))]
        for extra, args in options.words():
            whole = [self.sweep.folded(options, args, closed[: n + 1]) for n in range(len(closed))]
            shapes = self._split(
                options, args, [g for g in whole if g is not None], closed, shape, price - extra
            )
            if shapes is not None:
                found = [
                    edit
                    for slot, (name, feed) in enumerate(zip(layer.inputs, shapes, strict=True))
                    for edit in self._edge(name, layer.name, slot, feed)
                ]
                return [*found, *options.word_edits(args)]
        raise UnrealisedError

    def _split(
        self,
        options: Options,
        args: Arguments,
        whole: list[Grid],
        closed: list[Grid],
        shape: Shape,
        price: float,
    ) -> list[Shape] | None:
        """Shapes of the inputs that merge to the shape at the price, the last input first."""
        if len(closed) == 1:
            return [shape] if price_at(closed[0], shape) == price else None
        for left, right in _halves(options, args, shape, self.sweep.limits):
            self.deadline.check()
            share = price_at(closed[-1], right)
            if price_at(whole[-2], left) + share == price:
                rest = self._split(options, args, whole[:-1], closed[:-1], left, price - share)
                if rest is not None:
                    return [*rest, right]
        return None

    def _edge(self, source: str, layer: str, slot: int, shape: Shape) -> list[Edit]:
        """The insertions on an edge after which the shape is there, then what is before them."""
        closed, raw = self.sweep.closed[layer, slot], self.sweep.grids[source]
        adapters = Adapters(self.model.framework, self.costs, layer, slot)
        inserted: list[Edit] = []
        while price_at(closed, shape) != price_at(raw, shape):
            if len(shape) > 1:
                closed = self.sweep.inserted[layer, slot]
            try:
                shape, edits = _step(adapters, closed, shape, self.deadline)
            except UnrealisedError:
                price = price_at(closed, shape)
                shape, edits = _over_joined(adapters, (raw, closed), shape, price, self.deadline)
            inserted = [*edits, *inserted]
        return [*self._tensor(source, shape, price_at(raw, shape)), *inserted]


def _cheapest(grid: Grid) -> tuple[Shape, float]:
    price = grids.least(grid)
    for array in grid.values():
        for index in np.argwhere(array == price):
            if (index < limit_of(array)).all():
                return tuple(int(i) + 1 for i in index), price
    raise UnrealisedError


def _step(
    adapters: Adapters, closed: Grid, shape: Shape, deadline: Deadline
) -> tuple[Shape, tuple[Edit, ...]]:
    """The last insertion on the way to a shape, and the shape before it."""
    price = price_at(closed, shape)
    for rank in closed:
        cells = grids.states(closed, rank)
        cells = cells.rows(np.isfinite(cells.high).all(axis=1) & (cells.cost < price))
        for row in np.flatnonzero(_reachable(adapters, cells, rank, shape, price)):
            deadline.check()
            before = tuple(int(n) for n in cells.low[row])
            for edit in adapters.direct(before, shape):
                if edit.cost + cells.cost[row] == price:
                    return before, (edit,)
    raise UnrealisedError


def _over_joined(
    adapters: Adapters, sources: Sequence[Grid], shape: Shape, price: float, deadline: Deadline
) -> tuple[Shape, tuple[Edit, ...]]:
    """The last two insertions, of which the first is a reshape to sizes that have no entry of their own.

    What leads from such sizes to the shape depends on the number of elements alone, and is looked up once.
    """
    prices = adapters.costs.adapters
    sums = {prices[r] + p for r in ("Flatten", "Reshape", "Scramble") for p in prices.values()}
    ends: dict[int, list[tuple[Shape, Edit]]] = {}
    for grid, rank in product(sources, sources[0]):
        cells = grids.states(grid, rank)
        hopeful = np.isfinite(cells.high).all(axis=1) & np.isin(price - cells.cost, list(sums))
        for row in np.flatnonzero(hopeful):
            before = tuple(int(n) for n in cells.low[row])
            total = prod(before)
            if total not in ends:
                deadline.check()
                ends[total] = list(_ends(adapters, total, grid, shape))
            for between, last in ends[total]:
                first = adapters.direct(before, between)
                if first and cells.cost[row] + first[0].cost + last.cost == price:
                    return before, (*first, last)
    raise UnrealisedError


def _ends(adapters: Adapters, total: int, grid: Grid, shape: Shape) -> Iterator[tuple[Shape, Edit]]:
    """Shapes with so many elements that have an axis beyond the grid, with the insertion that leads on."""
    for rank, array in grid.items():
        shapes = factorisations(total, rank)
        if shapes is None:
            continue
        rows = shapes[(shapes > limit_of(array)).any(axis=1)]
        for row in rows[_shrinks(adapters, rows, shape)]:
            between = tuple(int(n) for n in row)
            edits = adapters.direct(between, shape)
            if edits:
                yield between, edits[0]


def _shrinks(adapters: Adapters, rows: Any, shape: Shape) -> Any:
    """Rows from which sizes shrink, the width changes or a global pool leads to the shape: a quick test."""
    if rows.shape[1] != len(shape):
        return (rows[:, -1] == shape[0]) & (len(shape) == 1)
    wanted, width = np.asarray(shape), len(shape) - 1 if adapters.keras else 0
    places = np.arange(len(shape)) != width
    return (rows[:, places] >= wanted[places]).all(axis=1)


def _reachable(adapters: Adapters, cells: States, rank: int, shape: Shape, price: float) -> Any:
    """Rows from which one insertion may lead to the shape at that price: a quick test before the real one."""
    prices = adapters.costs.adapters
    fits = np.isin(price - cells.cost, list(set(prices.values())))
    same = cells.low.prod(axis=1) == prod(shape)
    if rank == len(shape):
        wanted, width = np.asarray(shape), len(shape) - 1 if adapters.keras else 0
        places = np.arange(rank) != width
        kept = (cells.low[:, width] == wanted[width]) | (cells.low[:, places] == wanted[places]).all(axis=1)
        return fits & (same | kept | (price - cells.cost == prices["Stride"]))
    pooled = (cells.low[:, -1] == shape[0]) & (len(shape) == 1)
    return fits & (same | pooled)


def _halves(options: Options, args: Arguments, shape: Shape, limits: Limits) -> Iterator[tuple[Shape, Shape]]:
    """All pairs of shapes that a merge layer may join to the shape."""
    axis = args.get("axis", args.get("dim"))
    if "strict" in args:
        yield shape, shape
        if not args["strict"]:
            yield from _broadcasts(shape)
    elif options.rule.inputs is None and isinstance(axis, int):
        at = axis + len(shape) if axis < 0 else axis - 1
        for size in range(1, shape[at]):
            head, tail = shape[:at], shape[at + 1 :]
            yield (*head, size, *tail), (*head, shape[at] - size, *tail)
    else:
        yield from _contractions(args["axes"], shape, limits)


def _broadcasts(shape: Shape) -> Iterator[tuple[Shape, Shape]]:
    for sides in product((0, 1, 2), repeat=len(shape)):
        left = tuple(1 if side == 1 else size for side, size in zip(sides, shape, strict=True))
        right = tuple(1 if side == 2 else size for side, size in zip(sides, shape, strict=True))
        for cut in range(len(shape)):
            if all(size == 1 for size in left[:cut]):
                yield left[cut:], right
            if all(size == 1 for size in right[:cut]):
                yield left, right[cut:]


def _contractions(axes: tuple[int, int], shape: Shape, limits: Limits) -> Iterator[tuple[Shape, Shape]]:
    """The axis that both had in common goes back into either part of the shape."""
    parts = [(shape[:cut], shape[cut:]) for cut in range(len(shape) + 1)]
    if shape == (1,):
        parts.append(((), ()))
    for one, other in parts:
        a, b = (d - 1 if d > 0 else d + len(part) + 1 for d, part in zip(axes, (one, other), strict=True))
        rank = max(len(one), len(other)) + 1
        if rank in limits and 0 <= a <= len(one) and 0 <= b <= len(other):
            for size in range(1, limits[rank] + 1):
                yield (*one[:a], size, *one[a:]), (*other[:b], size, *other[b:])
