"""Merge layers that read the wrong tensor: one input at most is taken from another layer.

A tensor is given up only if something else still reads it, so that no layer becomes useless; and it is taken
from a layer before the merge, so that no cycle arises.
"""

from __future__ import annotations

from collections.abc import Iterator

from layerwise.shapes import RankMismatch
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Layer, Model, Shape
from repairsolver.architecture.transitions import Step, step

NEAREST = 4
"""Sources that fit are tried in the search from the nearest to the old one, so many for each input."""


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
    """Models in which an input of a faulty merge comes from a tensor that fits as it is."""
    found = diagnose_model(model)
    faulty = {fault.layer for fault in found.faults}
    order = {name: n for n, name in enumerate([*model.inputs, *(layer.name for layer in model.layers)])}
    for layer in model.layers:
        if layer.name in faulty and all(name in found.shapes for name in layer.inputs):
            for slot, old in enumerate(layer.inputs):
                known = [name for name in sources(model, layer, slot) if name in found.shapes]
                shapes = [found.shapes[name] for name in layer.inputs]
                fits = [n for n in known if _valid(model, layer, _with(shapes, slot, found.shapes[n]))]
                for name in sorted(fits, key=lambda n: (abs(order[n] - order[old]), n))[:NEAREST]:
                    edit = rewiring(layer, slot, name, costs)
                    yield apply_edits(model, [edit]), step([edit])


def _with(shapes: list[Shape], slot: int, shape: Shape) -> list[Shape]:
    return [shape if place == slot else old for place, old in enumerate(shapes)]


def _valid(model: Model, layer: Layer, shapes: list[Shape]) -> bool:
    try:
        outcome = model.rule(layer)(shapes, layer.args)
    except RankMismatch:
        return False
    return all(need.holds for need in outcome.requirements)
