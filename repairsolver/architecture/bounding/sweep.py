"""A lower bound on the price of any repair: one pass through the graph over boxes of shapes.

Every edit of the vocabulary, with every value, has its image among the boxes, at its price or below. The
least price at the end is therefore not above the price of any repair: an admissible bound, which proves a
repair of that price to be the cheapest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import TypeAlias

import numpy as np

from repairsolver.architecture.bounding.deadline import FOREVER, Deadline
from repairsolver.architecture.bounding.insertions import Insertions
from repairsolver.architecture.bounding.options import Arguments, Options
from repairsolver.architecture.bounding.states import (
    States,
    Table,
    anything,
    collected,
    least,
    pairs,
    point,
)
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.model import Layer, Model, Shape
from repairsolver.architecture.rewiring import rewirable

Side: TypeAlias = tuple[tuple[str, ...], int, Table]
"""Tensors that stay alive, how many the layer reads, and the states."""


@dataclass(frozen=True)
class _Part:
    """Tensors that are alive together, and the states of their shapes."""

    names: tuple[str, ...]
    table: Table


def lower_bound(
    model: Model, costs: Costs, limit: float, ranks: tuple[int, ...], deadline: Deadline = FOREVER
) -> float:
    """No repair is cheaper; `limit` + 1 where none is within the limit.

    Behind every faulty layer the graph is cut, and what lies behind the cut is bounded first, whatever comes
    in: so much less is left for the layers before it.

    Raises:
        TimeUpError: the deadline is over.
    """
    faulty = {fault.layer for fault in diagnose_model(model).faults}
    cuts = [number for number, layer in enumerate(model.layers, start=1) if layer.name in faulty]
    ahead: dict[int, float] = {}
    for cut in reversed([cut for cut in cuts if cut < len(model.layers)]):
        ahead[cut] = Sweep(model, costs, limit, ranks, deadline, start=cut, ahead=ahead).run()
    return Sweep(model, costs, limit, ranks, deadline, ahead=ahead).run()


class Sweep:
    """One pass.

    Args:
        model: the layer graph.
        costs: prices of the edits.
        limit: states that lead to dearer repairs only are dropped.
        ranks: the ranks that tensors may have.
        deadline: raises `TimeUpError` from `run`.
        start: number of layers that are left out: the tensors between have any shape.
        ahead: such numbers, to lower bounds of what the layers from there on cost.
    """

    def __init__(
        self,
        model: Model,
        costs: Costs,
        limit: float,
        ranks: tuple[int, ...],
        deadline: Deadline = FOREVER,
        *,
        start: int = 0,
        ahead: Mapping[int, float] | None = None,
    ) -> None:
        self.model, self.costs, self.limit, self.deadline = model, costs, limit, deadline
        self.start, self.ahead, self.place = start, dict(ahead or {}), start
        self.insertions = Insertions(model.framework, costs, ranks, deadline)
        self.readers = dict(model.consumers)
        for layer in model.layers[:start]:
            for name in layer.inputs:
                self.readers[name] -= 1
        self.parts = list(self._first())

    def run(self) -> float:
        """The bound: `limit` + 1 where nothing within the limit exists."""
        for place in range(self.start, len(self.model.layers)):
            self.deadline.check()
            self.place = place
            self._advance(self.model.layers[place])
            if not all(part.table for part in self.parts):
                return self.limit + 1
        bound = sum(self._ended(part) for part in self.parts)
        return min(bound, self.limit + 1)

    def _first(self) -> Iterator[_Part]:
        """The inputs; in the middle of the graph any shape of every tensor that is read later."""
        if self.start == 0:
            yield from (_Part((name,), self._inputs(name, s)) for name, s in self.model.inputs.items())
            return
        before = [*self.model.inputs, *(layer.name for layer in self.model.layers[: self.start])]
        for name in before:
            if self.readers[name] > 0:
                yield _Part((name,), {(rank,): anything(rank) for rank in self.insertions.ranks})

    def _inputs(self, name: str, shape: Shape) -> Table:
        found = []
        if name in self.model.declared:
            found.append(((len(shape),), point(shape, self.costs.declared)))
            return collected(found, self.limit)
        if 0 not in shape:
            found.append(((len(shape),), point(shape, 0)))
        for other in [] if name in self.model.opaque else [*set(permutations(shape)), shape[1:]]:
            if other != shape and 0 not in other and other:
                found.append(((len(other),), point(other, self.costs.input_layout)))
        return collected(found, self.limit)

    def _room(self, without: Iterable[_Part]) -> float:
        ours = [id(part) for part in without]
        later = max((bound for cut, bound in self.ahead.items() if cut > self.place), default=0.0)
        return self.limit - later - sum(least(part.table) for part in self.parts if id(part) not in ours)

    def _advance(self, layer: Layer) -> None:
        used = [part for part in self.parts if set(part.names) & set(layer.inputs)]
        room = self._room(used)
        for name in layer.inputs:
            self.readers[name] -= 1
        options = Options(self.model, self.costs, layer, self.insertions)
        if len(layer.inputs) == 1:
            names, table = self._picked(used[0], layer.inputs)
            made = self._unary(options, table, room)
        else:
            names, made = self._merged(options, layer, used, room)
        self.parts = [part for part in self.parts if part not in used]
        self.parts.append(_Part((*names, layer.name), made))

    def _picked(self, part: _Part, slots: Iterable[str]) -> tuple[tuple[str, ...], Table]:
        """The part's tensors that are still alive, then those that the layer reads."""
        alive = [i for i, name in enumerate(part.names) if self.readers[name] > 0]
        read = [part.names.index(name) for name in slots if name in part.names]
        table = dict(_arranged(part.table, [*alive, *read]))
        return tuple(part.names[i] for i in alive), table

    def _unary(self, options: Options, table: Table, room: float) -> Table:
        found = [(ranks, states.dearer(options.removal())) for ranks, states in table.items()]
        if not options.indifferent:
            table = self.insertions.closed(table, room)
        for ranks, states in table.items():
            for rank, made in options.uses(states, ranks[-1], room):
                found.append(((*ranks[:-1], rank), made))
        return collected(found, room)

    def _merged(
        self, options: Options, layer: Layer, used: list[_Part], room: float
    ) -> tuple[tuple[str, ...], Table]:
        sides = []
        for part in used:
            slots = [name for name in layer.inputs if name in part.names]
            names, table = self._picked(part, slots)
            apart = room - sum(least(other.table) for other in used if other is not part)
            for name in reversed(slots):
                table = self._rewired(layer, name, table, apart)
                table = self.insertions.closed(table, apart)
                table = dict(_turned(table, len(slots)))
            sides.append((names, len(slots), table))
        first = next(part for part in used if layer.inputs[0] in part.names)
        swapped = first is not used[0]
        found = [
            (ranks, states.dearer(price))
            for price, args in options.words()
            if price <= room
            for ranks, states in self._folded(options, args, sides, swapped, room - price).items()
        ]
        return tuple(name for names, _, _ in sides for name in names), collected(found, room)

    def _rewired(self, layer: Layer, name: str, table: Table, room: float) -> Table:
        """The last tensor may be any, at a price, where an input may be taken from elsewhere."""
        if self.costs.rewire > room or not rewirable(self.model, layer, layer.inputs.index(name)):
            return table
        found = [*table.items()]
        for ranks, states in table.items():
            head = states.columns(range(states.low.shape[1] - ranks[-1])).dearer(self.costs.rewire)
            for rank in self.insertions.ranks:
                free = anything(rank).axes(range(rank))
                found.append(((*ranks[:-1], rank), head.with_axes(free)))
        return collected(found, room)

    def _folded(
        self, options: Options, args: Arguments, sides: list[Side], swapped: bool, room: float
    ) -> Table:
        """All inputs of all sides, two at a time; the tensors that stay alive come first."""
        whole: Table = {}
        for number, (_, slots, table) in enumerate(sides):
            for _ in range(slots - 1):
                table = collected(self._joined_last(options, args, table, False), room)
            if number == 0:
                whole = table
            else:
                both = list(_crossed(whole, table, room))
                whole = collected(
                    (
                        made
                        for ranks, states in both
                        for made in self._joined_last(options, args, {ranks: states}, swapped)
                    ),
                    room,
                )
        return whole

    def _joined_last(
        self, options: Options, args: Arguments, table: Table, swapped: bool
    ) -> Iterator[tuple[tuple[int, ...], States]]:
        for ranks, states in table.items():
            self.deadline.check()
            made = options.combined(states, (ranks[-2], ranks[-1]), args, swapped)
            if made is not None:
                yield (*ranks[:-2], made[0]), made[1]

    def _ended(self, part: _Part) -> float:
        """The least price at which the part's outputs have the shapes that are demanded."""
        table, room = part.table, self._room([part])
        for place, name in enumerate(part.names):
            wanted = self.model.outputs.get(name)
            if wanted is not None:
                others = [i for i in range(len(part.names)) if i != place]
                turned = dict(_arranged(table, [*others, place]))
                closed = self.insertions.closed(turned, room)
                kept = [(r, _holding(s, wanted)) for r, s in closed.items() if r[-1] == len(wanted)]
                if self.model.redeclare:
                    kept += [(r, s.dearer(self.costs.declared)) for r, s in turned.items()]
                back = [*range(place), len(others), *range(place, len(others))]
                table = dict(_arranged(collected(kept, room), back))
        return least(table)


def ranks_of(*models: Model) -> tuple[int, ...]:
    """Ranks that tensors may have: 1 to 4, and more where the models themselves have more."""
    ranks = [4]
    for model in models:
        wanted = [shape for shape in model.outputs.values() if shape is not None]
        ranks += map(len, [*model.inputs.values(), *diagnose_model(model).shapes.values(), *wanted])
        for layer in model.layers:
            targets = [a.name for a in model.rule(layer).arguments if a.role == "target"]
            ranks += [len(layer.args[name]) for name in targets]
    return tuple(range(1, max(ranks) + 1))


def _spans(ranks: tuple[int, ...]) -> list[range]:
    starts = np.cumsum([0, *ranks]).tolist()
    return [range(a, b) for a, b in pairwise(starts)]


def _arranged(table: Table, order: list[int]) -> Iterator[tuple[tuple[int, ...], States]]:
    """The tensors in another order, some twice, some not at all."""
    for ranks, states in table.items():
        spans = _spans(ranks)
        columns = [column for i in order for column in spans[i]]
        yield tuple(ranks[i] for i in order), states.columns(columns)


def _turned(table: Table, slots: int) -> Iterator[tuple[tuple[int, ...], States]]:
    """The last tensor before the other tensors that the layer reads."""
    for ranks, states in table.items():
        alive = len(ranks) - slots
        order = [*range(alive), len(ranks) - 1, *range(alive, len(ranks) - 1)]
        yield from _arranged({ranks: states}, order)


def _crossed(one: Table, other: Table, room: float) -> Iterator[tuple[tuple[int, ...], States]]:
    """Both tables' states side by side: alive of one, alive of the other, then the two that are merged."""
    for ranks, states in one.items():
        for more, extra in other.items():
            a, b = pairs(states, extra, room)
            if len(a):
                joined = States(np.hstack([a.low, b.low]), np.hstack([a.high, b.high]), a.cost)
                count = len(ranks)
                order = [
                    *range(count - 1),
                    *range(count, count + len(more) - 1),
                    count - 1,
                    count + len(more) - 1,
                ]
                yield from _arranged({(*ranks, *more): joined}, order)


def _holding(states: States, shape: Shape) -> States:
    """States whose last tensor may have this shape."""
    at = states.low.shape[1] - len(shape)
    sizes = np.asarray(shape, dtype=np.float64)
    return states.rows(((states.low[:, at:] <= sizes) & (sizes <= states.high[:, at:])).all(axis=1))
