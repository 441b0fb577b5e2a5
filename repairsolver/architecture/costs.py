"""What edits cost: small where a value follows from others, large where it carries the user's intent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def _roles() -> dict[str, int]:
    return {
        "derived": 2,
        "flag": 4,
        "padding": 4,
        "amount": 3,
        "border": 6,
        "target": 4,
        "groups": 4,
        "dilation": 6,
        "stride": 8,
        "kernel": 8,
        "pool": 8,
        "width": 10,
    }


def _adapters() -> dict[str, int]:
    return {
        "Flatten": 5,
        "Reshape": 5,
        "Scramble": 9,
        "Permute": 6,
        "Pad": 6,
        "Crop": 7,
        "LargePad": 9,
        "LargeCrop": 10,
        "Upsample": 7,
        "Pool": 7,
        "Project": 7,
        "Stride": 9,
        "GlobalPool": 7,
    }


@dataclass(frozen=True)
class Costs:
    """Prices of edits; the repair is the one of least total price.

    Args:
        roles: changing an argument, by its role in the layer rules.
        target_total: changing a reshape target to another number of elements.
        unpad: changing padding that is stated as "same" to "valid".
        adapters: inserting a layer, by what it does; a reshape at the same rank scrambles positions and
            channels, and padding or cropping is large beyond a quarter of an axis.
        remove: removing a layer that keeps or shrinks its input.
        remove_global_pool: removing a global pool, whose lost axes the next layer needs.
        weights: truncating or extending weights that are given.
        transpose: reordering the axes of weights that are given.
        width_of_weights: setting a width to that of weights that are given.
        layout: switching the data format of all layers; every layer beyond the first adds `layout_layer`.
        layout_one: switching the data format of one layer that states it, where all layers have the same.
        layout_mixed: the same where the layers disagree.
        sibling: a layer of another number of spatial axes, Conv1D for Conv2D.
        rewire: taking an input of a merge layer from another layer.
        input_layout: moving or dropping an axis of an input.
        declared: declaring the input shape that is really fed.
    """

    roles: Mapping[str, int] = field(default_factory=_roles)
    target_total: int = 8
    unpad: int = 7
    adapters: Mapping[str, int] = field(default_factory=_adapters)
    remove: int = 9
    remove_global_pool: int = 4
    weights: int = 7
    transpose: int = 4
    width_of_weights: int = 3
    layout: int = 3
    layout_layer: int = 2
    layout_one: int = 6
    layout_mixed: int = 3
    sibling: int = 8
    rewire: int = 11
    input_layout: int = 4
    declared: int = 2


def default_costs(framework: str) -> Costs:
    """Prices for a framework: an ONNX file states its weights, which follow from its layers' arguments."""
    return Costs(weights=2, transpose=1) if framework == "onnx" else Costs()
