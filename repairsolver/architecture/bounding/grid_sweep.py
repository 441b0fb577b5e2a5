"""A lower bound on the price of any repair of a tree of layers, over all shapes of every tensor.

In a tree every tensor is read once, so the prices of the shapes of one tensor say all that matters of the
layers behind it. Dynamic programming over the tree is exact but for sizes beyond the limits of the grid,
which are taken together, and for arguments whose new values reach a range of sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from repairsolver.architecture.bounding import grid as grids
from repairsolver.architecture.bounding.deadline import FOREVER, Deadline
from repairsolver.architecture.bounding.grid import LIMITS, Grid, Limits
from repairsolver.architecture.bounding.grid_insertions import GridInsertions
from repairsolver.architecture.bounding.grid_merging import known, merged
from repairsolver.architecture.bounding.insertions import Insertions
from repairsolver.architecture.bounding.options import Options
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.model import Layer, Model, Shape


def is_tree(model: Model, ranks: Sequence[int]) -> bool:
    """Whether every tensor is read once, with ranks and merge layers for which there are grids."""
    merges = all(known(model.rule(layer), layer.args) for layer in model.layers if len(layer.inputs) > 1)
    return merges and max(ranks) in LIMITS[0] and all(count == 1 for count in model.consumers.values())


class TreeSweep:
    """One pass from the inputs to the outputs.

    Args:
        model: a tree of layers, see `is_tree`.
        costs: prices of the edits.
        limit: dearer repairs are not looked at.
        ranks: the ranks that tensors may have.
        limits: sizes of the grids.
        deadline: raises `TimeUpError` from `run`.
    """

    def __init__(
        self,
        model: Model,
        costs: Costs,
        limit: float,
        ranks: tuple[int, ...],
        limits: Limits = LIMITS[0],
        deadline: Deadline = FOREVER,
    ) -> None:
        self.model, self.costs, self.limit, self.ranks = model, costs, limit, ranks
        self.deadline = deadline
        self.limits = {rank: limits[rank] for rank in ranks}
        self.insertions = GridInsertions(model.framework, costs, self.limits)
        self.boxes = Insertions(model.framework, costs, ranks, deadline)
        self.grids = {name: self._input(name, shape) for name, shape in model.inputs.items()}
        self.inserted: dict[tuple[str, int], Grid] = {}
        self.closed: dict[tuple[str, int], Grid] = {}
        self.alive = set(self.grids)

    def run(self) -> float:
        """The bound; `limit` + 1 where nothing within the limit exists."""
        for layer in self.model.layers:
            self.deadline.check()
            made = self._layer(layer)
            self.alive -= set(layer.inputs)
            self.alive.add(layer.name)
            self.grids[layer.name] = made
            if not np.isfinite(grids.least(made)):
                return self.limit + 1
        return min(sum(self._ended(name) for name in self.alive), self.limit + 1)

    def _room(self, *without: str) -> float:
        return self.limit - sum(grids.least(self.grids[n]) for n in self.alive if n not in without)

    def _input(self, name: str, shape: Shape) -> Grid:
        grid = grids.empty(self.ranks, self.limits)
        options = [(shape, 0)] if 0 not in shape else []
        others = [] if name in self.model.opaque else [*set(permutations(shape)), shape[1:]]
        options += [(s, self.costs.input_layout) for s in others if s != shape and 0 not in s and s]
        if name in self.model.declared:
            options = [(shape, self.costs.declared)]
        for other, price in options:
            at = grids.place(grid, other)
            grid[len(other)][at] = min(grid[len(other)][at], price)
        return grid

    def _layer(self, layer: Layer) -> Grid:
        room = self._room(*layer.inputs)
        options = Options(self.model, self.costs, layer, self.boxes)
        if len(layer.inputs) == 1:
            return self._unary(options, self.grids[layer.inputs[0]], room)
        closed = []
        for slot, name in enumerate(layer.inputs):
            apart = room - sum(grids.least(self.grids[other]) for other in layer.inputs if other != name)
            closed.append(self._closed((layer.name, slot), self.grids[name], apart))
        return self._merged(options, closed, room)

    def _unary(self, options: Options, grid: Grid, room: float) -> Grid:
        out = {rank: array + options.removal() for rank, array in grid.items()}
        edge = options.layer.name, 0
        if options.indifferent:
            self.inserted[edge] = self.closed[edge] = grid
        else:
            grid = self._closed(edge, grid, room)
        boxes: dict[int, list] = {rank: [] for rank in self.ranks}  # type: ignore[type-arg]
        for rank in self.ranks:
            cells = grids.states(grid, rank)
            if len(cells):
                for target, made in options.uses(cells, rank, room):
                    boxes[target].append(made.rows(made.cost <= room))
        for rank, parts in boxes.items():
            for made in parts:
                grids.spread(out, rank, made)
        return grids.cut(out, room)

    def _closed(self, edge: tuple[str, int], grid: Grid, room: float) -> Grid:
        """What insertions on an edge lead to; both steps are kept for the way back."""
        self.inserted[edge] = self.insertions.closed(grid, room)
        self.closed[edge] = self.insertions.pooled(self.inserted[edge], room)
        return self.closed[edge]

    def _merged(self, options: Options, closed: list[Grid], room: float) -> Grid:
        out = grids.empty(self.ranks, self.limits)
        for price, args in options.words():
            if price <= room:
                whole = self.folded(options, args, closed)
                for rank, array in whole.items():
                    grids.minimum(out, rank, array + price)
        return grids.cut(out, room)

    def folded(self, options: Options, args: Mapping[str, Any], closed: Sequence[Grid]) -> Grid:
        """The inputs of a merge layer, two at a time."""
        whole = closed[0]
        for other in closed[1:]:
            found = merged(options.rule, args, whole, other)
            whole = grids.empty(self.ranks, self.limits)
            for rank, array in found:
                grids.minimum(whole, rank, array)
        return whole

    def _ended(self, name: str) -> float:
        wanted = self.model.outputs.get(name)
        if wanted is None:
            return grids.least(self.grids[name])
        closed = self._closed((name, -1), self.grids[name], self._room(name))
        price = float(closed[len(wanted)][grids.place(closed, wanted)])
        return min(price, self.redeclared(name))

    def redeclared(self, name: str) -> float:
        """The least price at which the output has any shape, which is then declared."""
        return grids.least(self.grids[name]) + self.costs.declared if self.model.redeclare else np.inf
