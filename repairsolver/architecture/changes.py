"""Changed arguments of a layer as choices with prices, for z3: other words, and numbers that are unknowns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import z3

from layerwise.shapes import Argument, Rule
from layerwise.shapes.terms import Truth, every, some
from repairsolver.architecture.alternatives import format_price
from repairsolver.architecture.candidates import given_widths, half_kernel, price_of, said
from repairsolver.architecture.collapse import SPATIAL, keeps, resizes
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Layer, Model


@dataclass(frozen=True)
class Option:
    """One of several choices: its price, what holds then, and the edits that it stands for."""

    price: int
    holds: Any
    edits: tuple[Edit, ...] = ()


def least_price(layer: Layer, argument: Argument, costs: Costs) -> int:
    """The least price of another number."""
    implied = [costs.width_of_weights] * (argument.name in given_widths(layer))
    return min([costs.roles[argument.role], *implied])


def number_changes(
    layer: Layer, argument: Argument, terms: tuple[Any, ...], costs: Costs
) -> Iterator[Option]:
    """Any number, one that given weights imply, and paddings of up to half the kernel."""
    price, half = costs.roles[argument.role], half_kernel(argument, layer)
    if half:
        yield Option(price, z3.And(*(t <= h for t, h in zip(terms, half, strict=True))))
        price = costs.wide_padding
    yield Option(price, z3.BoolVal(True))
    for width in given_widths(layer).get(argument.name, ()):
        yield Option(costs.width_of_weights, terms[0] == width)


def word_changes(
    model: Model, layer: Layer, costs: Costs, ranks: tuple[int, ...], budget: int
) -> Iterator[tuple[Edit, ...]]:
    """Arguments that are words, axes or switches: changes of none or more, within a budget."""
    lists = []
    for argument in model.rule(layer).arguments:
        old, values = layer.args[argument.name], []
        if argument.name == "data_format" and format_price(model, layer, costs) is None:
            continue
        if argument.choices:
            values = [value for value in argument.choices if value != old]
        elif argument.name == "axis":
            values = [axis for axis in ranks if axis != old]
        elif layer.kind == "Dot":
            values = [axes for axes in product(ranks, repeat=2) if axes != old]
        if values:
            lists.append([(), *((_word(model, layer, argument, value, costs),) for value in values)])
    for choice in product(*lists):
        edits = tuple(edit for part in choice for edit in part)
        if sum(edit.cost for edit in edits) <= budget:
            yield edits


def _word(model: Model, layer: Layer, argument: Argument, value: Any, costs: Costs) -> Edit:
    price = price_of(model, argument, value, layer, costs)
    return Edit("set", layer.name, argument.name, value, price, before=said(layer, argument))


def kept_positions(
    rule: Rule,
    layer: Layer,
    args: Mapping[str, Any],
    shape: Sequence[Any],
    out: Sequence[Any],
    edits: Sequence[Edit],
    guarded: bool,
) -> Truth:
    """That the layer collapses no axis, unless its edits leave alone what decides about positions.

    A guarded layer has to keep them in any case.
    """
    kept = keeps(layer.kind, args, shape, out)
    if guarded or resizes(rule, edits):
        return kept
    names = [argument.name for argument in rule.arguments if argument.role in SPATIAL]
    same = [every(new == old for new, old in _pairs(args[name], layer.args[name])) for name in names]
    return some([kept, every(same)])


def _pairs(new: Any, old: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(old, tuple):
        yield from zip(new, old, strict=True)
    else:
        yield new, old
