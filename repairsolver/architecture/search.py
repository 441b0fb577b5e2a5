"""Cheapest edits by search over shape states: from shapes of live tensors to the steps that lead there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import TypeAlias

from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Layer, Model, Shape
from repairsolver.architecture.rewiring import rewired
from repairsolver.architecture.transitions import Step, Transitions, step

State: TypeAlias = tuple[Shape, ...]
NARROW, WIDE, KEEP = 4, 40, 4
"""States kept for each part of the graph: first for a bound, then for the answer; steps kept for each."""
SLACK, LOOKED_AT, MOST = 2, 16, 40
"""Alternatives may be so much dearer than the cheapest repair, or have a price of up to `LOOKED_AT`, one or
two changes of what the user meant; no more than `MOST` are kept."""


@dataclass
class _Part:
    """Tensors that are alive together, with the cheapest steps to each tuple of their shapes."""

    names: tuple[str, ...]
    table: dict[State, list[Step]]

    @property
    def least(self) -> int:
        return min((steps[0].cost for steps in self.table.values()), default=0)


def search(model: Model, costs: Costs, *, slack: int = SLACK, most: int = MOST) -> list[Step]:
    """The cheapest repairs found, best first.

    A narrow search gives an upper bound, a wide one looks at everything that may be as good. What it misses
    is found, or ruled out, by the exact engine.

    Args:
        model: the layer graph.
        costs: prices of the edits.
        slack: how much dearer than the cheapest others may be; more where the cheapest is below `LOOKED_AT`.
        most: how many are kept.
    """
    variants = [*layouts(model, costs), *rewired(model, costs)]
    best: list[Step] = []
    for width in (NARROW, WIDE):
        found = [*best]
        for variant, first in variants:
            limit = max(found[0].cost + slack, LOOKED_AT) if found else 10**6
            if limit >= first.cost:
                found += [first + way for way in _Sweep(variant, costs, width, limit - first.cost).run(most)]
                found.sort()
        unique = {way.words: way for way in found}
        best = sorted(unique.values())
    return best[:most]


def layouts(model: Model, costs: Costs) -> Iterator[tuple[Model, Step]]:
    """The model as it is, and with the data format of all its layers switched."""
    yield model, Step()
    formats = {layer.args["data_format"] for layer in model.layers if "data_format" in layer.args}
    if len(formats) == 1:
        other = "channels_first" if formats == {"channels_last"} else "channels_last"
        count = sum("data_format" in layer.args for layer in model.layers)
        price = costs.layout + costs.layout_layer * (count - 1)
        edit = Edit("layout", "all layers", "data_format", other, price)
        yield apply_edits(model, [edit]), step([edit])


class _Sweep:
    """One pass through the layers, each part of the graph cut to `width` states within the price `limit`."""

    def __init__(self, model: Model, costs: Costs, width: int, limit: int) -> None:
        self.model, self.costs = model, costs
        self.width, self.limit = width, limit
        self.transitions = Transitions(model, costs, KEEP)
        self.readers = dict(model.consumers)
        self.parts: list[_Part] = [
            _Part((name,), self._input_states(name, shape)) for name, shape in model.inputs.items()
        ]

    def run(self, most: int) -> list[Step]:
        """The repairs that are left at the end, no more than so many."""
        for layer in self.model.layers:
            self._advance(layer)
        part = self._joined(tuple(self.model.outputs))
        ways = [way for state, steps in part.table.items() for way in self._ended(part, state, steps)]
        return sorted(way for way in ways if way.cost <= self.limit)[:most]

    def _input_states(self, name: str, shape: Shape) -> dict[State, list[Step]]:
        table: dict[State, list[Step]] = {}
        if name in self.model.declared:
            built = self.model.declared[name]
            edit = Edit("input", name, "declared shape", shape, self.costs.declared, before=built)
            table[(shape,)] = [step([edit])]
            return table
        if 0 not in shape:
            table[(shape,)] = [Step()]
        if name in self.model.opaque:
            return table
        others = [shape[1:]] if len(shape) > 3 or 0 in shape else []
        if len(shape) == 3 and 0 not in shape:
            others += [(*shape[1:], shape[0]), (shape[-1], *shape[:-1])]
        for other in others:
            if other != shape and (len(other) < len(shape) or other in set(permutations(shape))):
                edit = Edit("input", name, "shape", other, self.costs.input_layout, before=shape)
                table.setdefault((other,), [step([edit])])
        return table

    def _advance(self, layer: Layer) -> None:
        part = self._joined(layer.inputs)
        for name in layer.inputs:
            self.readers[name] -= 1
        alive = [i for i, name in enumerate(part.names) if self.readers[name] > 0]
        places = [part.names.index(name) for name in layer.inputs]
        elsewhere = sum(other.least for other in self.parts)
        table: dict[State, list[Step]] = {}
        for state, steps in part.table.items():
            outcomes = self.transitions.of_layer(layer, tuple(state[i] for i in places))
            kept = tuple(state[i] for i in alive)
            for shape, ways in outcomes.items():
                room = self.limit - elsewhere - steps[0].cost
                fresh = [a + b for b in ways if b.cost <= room for a in steps]
                if fresh:
                    table.setdefault((*kept, shape), []).extend(fresh)
        names = (*(part.names[i] for i in alive), layer.name)
        self.parts.append(_Part(names, self._cut(table, self.limit - elsewhere)))

    def _cut(self, table: dict[State, list[Step]], room: int) -> dict[State, list[Step]]:
        best = {state: sorted(s for s in steps if s.cost <= room)[:KEEP] for state, steps in table.items()}
        order = sorted((steps[0], state) for state, steps in best.items() if steps)
        return {state: best[state] for _, state in order[: self.width]}

    def _joined(self, names: tuple[str, ...]) -> _Part:
        """The parts that hold these tensors, as one; they are taken out of the list."""
        used = [part for part in self.parts if set(part.names) & set(names)]
        self.parts = [part for part in self.parts if part not in used]
        joined = used[0] if used else _Part((), {(): [Step()]})
        for part in used[1:]:
            table = {
                (*a, *b): sorted(x + y for x in steps for y in more)[:KEEP]
                for a, steps in joined.table.items()
                for b, more in part.table.items()
            }
            elsewhere = sum(other.least for other in self.parts)
            joined = _Part((*joined.names, *part.names), self._within(table, self.limit - elsewhere))
        return replace(joined)

    def _within(self, table: dict[State, list[Step]], room: int) -> dict[State, list[Step]]:
        return {state: steps for state, steps in table.items() if steps[0].cost <= room}

    def _ended(self, part: _Part, state: State, steps: list[Step]) -> list[Step]:
        for name, wanted in self.model.outputs.items():
            if wanted is not None:
                shape = state[part.names.index(name)]
                ends = self.transitions.of_output(name, shape, wanted)
                if self.model.redeclare and shape != wanted:
                    price = self.costs.declared
                    edit = Edit("output", name, "declared shape", shape, price, before=wanted)
                    ends = [*ends, step([edit])]
                steps = [a + b for a in steps for b in ends]
        return steps
