"""Merge layers that read the wrong tensors: some of their inputs are taken from other layers.

A tensor is given up only if something else still reads it, so that no layer becomes useless; and it is taken
from a layer before the merge, so that no cycle arises. The search looks at one or two inputs of one merge,
the engines that prove at any number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations, product

from layerwise.shapes import RankMismatch
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Layer, Model, Shape
from repairsolver.architecture.transitions import Step, step

NEAREST = 4
"""So many sources that fit are tried in the search for each set of inputs, the nearest to the old ones."""


def rewirable(model: Model, layer: Layer, slot: int) -> bool:
    """Whether this input of a merge layer may come from elsewhere."""
    return len(layer.inputs) > 1 and model.consumers[layer.inputs[slot]] > 1


def sources(model: Model, layer: Layer, slot: int) -> Iterator[str]:
    """Tensors before the layer that it does not read yet."""
    if rewirable(model, layer, slot):
        for name in [*model.inputs, *(other.name for other in model.layers)]:
            if name == layer.name:
                return
            if name not in layer.inputs and name not in model.opaque:
                yield name


def rewiring(layer: Layer, slot: int, source: str, costs: Costs) -> Edit:
    """The edit."""
    return Edit("rewire", layer.name, "input", source, costs.rewire, 1.0, slot, before=layer.inputs[slot])


def rewired(model: Model, costs: Costs) -> Iterator[tuple[Model, Step]]:
    """Models in which one or two inputs of a faulty merge come from tensors that fit as they are."""
    found = diagnose_model(model)
    faulty = {fault.layer for fault in found.faults}
    for layer in model.layers:
        if layer.name in faulty and all(name in found.shapes for name in layer.inputs):
            for slots in _sets(model, layer):
                for names in _fitting(model, layer, slots, found.shapes)[:NEAREST]:
                    edits = [rewiring(layer, s, n, costs) for s, n in zip(slots, names, strict=True)]
                    yield apply_edits(model, edits), step(edits)


def _sets(model: Model, layer: Layer) -> Iterator[tuple[int, ...]]:
    """One input, then two, such that something else still reads what each of them read."""
    able = [slot for slot in range(len(layer.inputs)) if rewirable(model, layer, slot)]
    for count in (1, 2):
        for slots in combinations(able, count):
            left = Counter(layer.inputs[slot] for slot in slots)
            if all(model.consumers[name] > taken for name, taken in left.items()):
                yield slots


def _fitting(
    model: Model, layer: Layer, slots: tuple[int, ...], known: Mapping[str, Shape]
) -> list[tuple[str, ...]]:
    """Sources for these inputs with which the layer is valid, the nearest to the old ones first."""
    order = {name: n for n, name in enumerate([*model.inputs, *(layer.name for layer in model.layers)])}
    options = [[name for name in sources(model, layer, slot) if name in known] for slot in slots]
    fits = []
    for names in product(*options):
        new = dict(zip(slots, names, strict=True))
        shapes = [known[new.get(place, old)] for place, old in enumerate(layer.inputs)]
        if len(set(names)) == len(names) and _valid(model, layer, shapes):
            far = sum(abs(order[name] - order[layer.inputs[slot]]) for slot, name in new.items())
            fits.append((far, names))
    return [names for _, names in sorted(fits)]


def _valid(model: Model, layer: Layer, shapes: list[Shape]) -> bool:
    try:
        outcome = model.rule(layer)(shapes, layer.args)
    except RankMismatch:
        return False
    return all(need.holds for need in outcome.requirements)
