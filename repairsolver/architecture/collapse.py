"""Edits that leave one position of a spatial axis where the layer reads several: only if nothing else works.

Such a repair is valid and worthless: a stride of 9 on 9 positions, a crop to one pixel. The rule concerns
what an edit makes of the layer that it changes or inserts, and what edits before a layer make of one that
keeps several positions in the model as given: two pools may do together what neither does alone. Layers that
the user wrote so may collapse an axis. A global
pool, which drops the axes, is what many users mean before a layer that takes vectors: it may be inserted, as
the last layer on its edge and not before a layer that passes every shape on, so that no axes of size 1 come
after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from layerwise.shapes import RankMismatch, Rule
from layerwise.shapes.ranges import Range
from layerwise.shapes.terms import Truth, every, some
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Layer, Model, Shape

SPATIAL = ("kernel", "pool", "stride", "dilation", "padding", "border", "amount")
"""Roles of arguments that decide about the number of positions."""
RANKS = (1, 2, 3, 4)
_PROBE = (2, 3, 5, 7, 11, 13, 17, 19)


def positions(kind: str, args: Mapping[str, Any], shape: Sequence[Any]) -> tuple[Any, ...]:
    """The sizes of the spatial axes; none for layers without windows and for global pools."""
    if kind == "Pad":
        return tuple(shape[1:])
    digits = re.findall(r"([123])[Dd]", kind)
    if not digits or "Global" in kind:
        return ()
    dims = int(digits[-1])
    if args.get("data_format") == "channels_last":
        return tuple(shape[-dims - 1 : -1])
    return tuple(shape[-dims:])


def keeps(kind: str, args: Mapping[str, Any], inputs: Sequence[Any], out: Sequence[Any]) -> Truth:
    """That no spatial axis with several positions is left with one."""
    pairs = zip(positions(kind, args, inputs), positions(kind, args, out), strict=False)
    return every(some([left >= 2, read <= 1]) for read, left in pairs)


def spared(
    kind: str, args: Mapping[str, Any], inputs: Sequence[Range], out: Sequence[Any]
) -> tuple[Range, ...]:
    """The same on ranges: output sizes from 2 on where the input has at least 2."""
    ranges = [Range.of(size) for size in out]
    places = positions(kind, args, range(len(ranges)))
    for place, read in zip(places, positions(kind, args, inputs), strict=False):
        old = ranges[place]
        ranges[place] = Range(np.where(read.low >= 2, np.maximum(old.low, 2), old.low), old.high)
    return tuple(ranges)


def resizes(rule: Rule, edits: Iterable[Edit]) -> bool:
    """Whether edits of a layer decide anew about its positions."""
    return any(
        edit.operation == "swap" or (edit.operation == "set" and rule.argument(edit.name).role in SPATIAL)
        for edit in edits
    )


def guarded(model: Model) -> frozenset[str]:
    """Layers that keep several positions in the model as given, so far as known: they have to do so."""
    shapes = diagnose_model(model).shapes
    return frozenset(
        layer.name
        for layer in model.layers
        if len(layer.inputs) == 1 and layer.name in shapes
        if any(size > 1 for size in positions(layer.kind, layer.args, shapes[layer.inputs[0]]))
        if _keeps(layer, shapes)
    )


def indifferent(rule: Rule, layer: Layer, ranks: Sequence[int] = RANKS) -> bool:
    """Whether the layer passes every shape on unchanged."""
    if rule.arguments or rule.inputs != 1 or layer.weights:
        return False
    probes = [_PROBE[:rank] for rank in ranks]
    try:
        return all(rule([probe], {}).shape == probe for probe in probes)
    except RankMismatch:
        return False


def pools_before(model: Model, layer: Layer, costs: Costs, ranks: Sequence[int] = RANKS) -> bool:
    """Whether a global pool may be inserted before the layer."""
    return costs.collapse or not indifferent(model.rule(layer), layer, ranks)


def collapsing(model: Model, edits: Sequence[Edit]) -> tuple[str, ...]:
    """Layers of the edited model that edits make collapse an axis.

    Args:
        model: before the edits; where one of them switches the layout, the layers that keep several positions
            are those of the switched model.
        edits: after which the model is valid.
    """
    repaired = apply_edits(model, edits)
    shapes = diagnose_model(repaired).shapes
    known = {layer.name for layer in model.layers}
    layout = [edit for edit in edits if edit.operation == "layout"]
    guards = (apply_edits(model, layout) if layout else model).guarded
    found = []
    for layer in repaired.layers:
        own = [edit for edit in edits if edit.layer == layer.name and edit.operation in ("set", "swap")]
        if layer.name not in known:
            bad = _inserted(repaired, layer, known, shapes)
        else:
            decided = layer.name in guards or resizes(repaired.rule(layer), own)
            bad = decided and not _keeps(layer, shapes)
        if bad:
            found.append(layer.name)
    return tuple(found)


def _keeps(layer: Layer, shapes: Mapping[str, Shape]) -> bool:
    return bool(keeps(layer.kind, layer.args, shapes[layer.inputs[0]], shapes[layer.name]))


def _inserted(model: Model, layer: Layer, known: set[str], shapes: Mapping[str, Shape]) -> bool:
    if not layer.kind.startswith("Global"):
        return not _keeps(layer, shapes)
    readers = [other for other in model.layers if layer.name in other.inputs]
    return any(
        len(shapes[r.name]) > 1 if r.name not in known else indifferent(model.rule(r), r) for r in readers
    )
