"""What edits cost: small where a value follows from others, large where it carries the user's intent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType


def _fitted() -> Mapping[str, int]:
    """The prices in use, by name; `python -m benchmarks.architecture prices --write` fits and writes them."""
    text = Path(__file__).with_name("prices.json").read_text(encoding="utf-8")
    prices: Mapping[str, int] = json.loads(text)["prices"]
    return prices


PRICES: Mapping[str, int] = MappingProxyType(_fitted())


def _table(name: str) -> dict[str, int]:
    """The prices of one table."""
    return {key.removeprefix(f"{name}."): p for key, p in PRICES.items() if key.startswith(f"{name}.")}


@dataclass(frozen=True)
class Costs:
    """Prices of edits; the repair is the one of least total price.

    Args:
        roles: changing an argument, by its role in the layer rules.
        target_total: changing a reshape target to another number of elements.
        wide_padding: changing padding to more than half the kernel.
        unpad: changing padding that is stated as "same" to "valid".
        adapters: inserting a layer, by what it does; a reshape at the same rank scrambles positions and
            channels, padding or cropping is large beyond a quarter of an axis, upsampling beyond twice.
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
        collapse: whether edits may leave one position of a spatial axis where there are several; if not, they
            still do where no other repair is found.
    """

    roles: Mapping[str, int] = field(default_factory=partial(_table, "roles"))
    target_total: int = PRICES["target_total"]
    wide_padding: int = PRICES["wide_padding"]
    unpad: int = PRICES["unpad"]
    adapters: Mapping[str, int] = field(default_factory=partial(_table, "adapters"))
    remove: int = PRICES["remove"]
    remove_global_pool: int = PRICES["remove_global_pool"]
    weights: int = PRICES["weights"]
    transpose: int = PRICES["transpose"]
    width_of_weights: int = PRICES["width_of_weights"]
    layout: int = PRICES["layout"]
    layout_layer: int = PRICES["layout_layer"]
    layout_one: int = PRICES["layout_one"]
    layout_mixed: int = PRICES["layout_mixed"]
    sibling: int = PRICES["sibling"]
    rewire: int = PRICES["rewire"]
    input_layout: int = PRICES["input_layout"]
    declared: int = PRICES["declared"]
    collapse: bool = False


def default_costs(framework: str) -> Costs:
    """Prices for a framework: an ONNX file states its weights, which follow from its layers' arguments."""
    return Costs(weights=2, transpose=1) if framework == "onnx" else Costs()
