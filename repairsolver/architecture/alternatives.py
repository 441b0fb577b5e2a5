"""Other forms of one layer: its sibling of another number of spatial axes, its own data format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from layerwise.shapes import RULES, Argument
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit, swapped
from repairsolver.architecture.model import Layer, Model

_WINDOWS = ("kernel_size", "pool_size", "size", "output_size")


def alternatives(model: Model, layer: Layer, costs: Costs) -> Iterator[tuple[Layer, tuple[Edit, ...]]]:
    """The layer as it is, then its siblings (Conv2D, Conv1D ...) with the edit that makes each of it."""
    yield layer, ()
    for kind in model.rule(layer).siblings:
        changed = _vectors(model, layer, kind)
        edit = Edit("swap", layer.name, kind, changed, costs.sibling, 1.0, before=layer.kind)
        yield swapped(layer, edit), (edit,)


def format_price(model: Model, layer: Layer, costs: Costs) -> int | None:
    """The price of another data format of this layer alone; None where it states none of its own."""
    if "data_format" not in layer.stated:
        return None
    formats = {other.args["data_format"] for other in model.layers if "data_format" in other.args}
    return costs.layout_one if len(formats) == 1 else costs.layout_mixed


def _vectors(model: Model, layer: Layer, kind: str) -> Mapping[str, Any]:
    """Arguments with an entry for each spatial axis, for the axes of the sibling."""
    have, want = _axes(layer.kind), _axes(kind)
    kept = _kept(layer, have, want)
    found = {}
    for argument in RULES[model.framework][kind].arguments:
        old = layer.args[argument.name]
        if isinstance(old, tuple) and argument.size in (want, 2 * want):
            found[argument.name] = _resized(argument, old, have, kept)
    return found


def _axes(kind: str) -> int:
    """The number of spatial axes that a type has in its name."""
    return int(re.findall(r"([123])[Dd]", kind)[-1])


def _kept(layer: Layer, have: int, want: int) -> list[int]:
    """Which axes the sibling's come from: axes with a window of 1 go first; the last is repeated."""
    if want >= have:
        return [min(axis, have - 1) for axis in range(want)]
    window = next((layer.args[name] for name in _WINDOWS if name in layer.args), (2,) * have)
    worth = sorted(range(have), key=lambda axis: (window[axis] == 1, axis))
    return sorted(worth[:want])


def _resized(argument: Argument, old: tuple[Any, ...], have: int, kept: list[int]) -> tuple[Any, ...]:
    if argument.size == len(kept):
        return tuple(old[axis] for axis in kept)
    pairs = [old[i : i + 2] for i in range(0, len(old), 2)]
    if argument.low < 0:  # torch counts the last axis first
        return tuple(x for axis in reversed(kept) for x in pairs[have - 1 - axis])
    return tuple(x for axis in kept for x in pairs[axis])
