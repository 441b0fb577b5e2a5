"""What a layer may do on sets of shapes: as it is, with arguments changed to any value, removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import Any, TypeAlias

import numpy as np

from layerwise.shapes import Argument, RankMismatch
from layerwise.shapes.ranges import Flags, Possible, Range
from layerwise.shapes.terms import every
from repairsolver.architecture.alternatives import alternatives, format_price
from repairsolver.architecture.bounding.insertions import Insertions
from repairsolver.architecture.bounding.merging import merged
from repairsolver.architecture.bounding.states import Prices, States
from repairsolver.architecture.candidates import derived, given_widths, half_kernel, price_of, said
from repairsolver.architecture.collapse import SPATIAL, indifferent, spared
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Layer, Model, Shape

Arguments = Mapping[str, Any]
WIDTHS = ("filters", "out_channels")
BOUNDED = {
    "output_padding": ("strides", "stride", "dilation", "dilations"),
    "groups": WIDTHS,
    "group": WIDTHS,
}
"""Arguments with the others of the layer that leave them few values."""


class Options:
    """The uses of one layer.

    Args:
        model: the layer graph.
        costs: prices of the edits.
        layer: the layer.
        insertions: where reshape targets come from.
        swapped: whether the layer is a sibling of the one that the user wrote.
    """

    def __init__(
        self, model: Model, costs: Costs, layer: Layer, insertions: Insertions, swapped: bool = False
    ) -> None:
        self.model, self.layer, self.costs, self.insertions = model, layer, costs, insertions
        self.rule = model.rule(layer)
        self.ranks, self.swapped = insertions.ranks, swapped

    @property
    def indifferent(self) -> bool:
        """Whether every shape passes unchanged: then insertions before the layer may wait until after it."""
        return indifferent(self.rule, self.layer, self.ranks)

    def removal(self) -> int:
        """The price of removing a layer with one input."""
        return self.costs.remove_global_pool if self.layer.kind.startswith("Global") else self.costs.remove

    def forms(self) -> Iterator[tuple[Options, tuple[Edit, ...]]]:
        """The layer, and its siblings with the edit that makes it one."""
        for layer, edits in alternatives(self.model, self.layer, self.costs):
            yield Options(self.model, self.costs, layer, self.insertions, bool(edits)), edits

    def words(self) -> Iterator[tuple[int, Arguments]]:
        """Arguments that are words, axes or switches: the old ones, and changes of one or more."""
        lists = []
        for argument in self.rule.arguments:
            old = self.layer.args[argument.name]
            values = [value for value in self._values(argument) if value != old]
            prices = [(self.price_of(argument, value), argument.name, value) for value in values]
            lists.append([None, *prices])
        for choice in product(*lists):
            changes = [change for change in choice if change is not None]
            args = {name: value for _, name, value in changes}
            yield sum(price for price, _, _ in changes), {**self.layer.args, **args}

    def _values(self, argument: Argument) -> list[Any]:
        if argument.name == "data_format" and self._format_price is None:
            return []
        if argument.choices:
            return list(argument.choices)
        if argument.name == "axis":
            return list(self.ranks)
        return list(product(self.ranks, repeat=2)) if self.layer.kind == "Dot" else []

    @property
    def _format_price(self) -> int | None:
        return format_price(self.model, self.layer, self.costs)

    def uses(self, states: States, rank: int, room: float) -> Iterator[tuple[int, States]]:
        """States with the output of the layer or a sibling in the place of its input, the last columns."""
        for form, edits in self.forms():
            price = sum(edit.cost for edit in edits)
            if price <= room - states.cost.min():
                for target, made in form.own_uses(states, rank, room - price):
                    yield target, made.dearer(price)

    def own_uses(self, states: States, rank: int, room: float) -> Iterator[tuple[int, States]]:
        """The same without siblings."""
        axes = states.low.shape[1]
        head, shape = list(range(axes - rank)), states.axes(range(axes - rank, axes))
        spare = room - states.cost.min()
        for price, args in self._argued(shape, spare):
            self.insertions.deadline.check()
            done = self._applied(states, shape, args)
            if done is not None:
                out, may, refit = done
                rows = states.columns(head).with_axes(out).rows(may)
                yield len(out), rows.dearer(refit[may] + price)
        for argument in self.rule.arguments:
            if argument.role == "target":
                yield from self._targets(argument, states, rank)

    def leading(
        self, states: States, rank: int, shape: Shape, price: float
    ) -> Iterator[tuple[int, Arguments, int]]:
        """Rows of inputs, arguments that lead from there to a shape at that price, the price of refits."""
        inputs = states.axes(range(rank))
        sizes = np.asarray(shape, dtype=np.float64)
        for extra, args in self._argued(inputs, price - states.cost.min()):
            done = self._applied(states, inputs, args)
            if done is not None and len(done[0]) == len(shape):
                out, may, refit = done
                made = States(states.low[:, :0], states.high[:, :0], states.cost).with_axes(out)
                here = may & (made.low <= sizes).all(axis=1) & (sizes <= made.high).all(axis=1)
                for row in np.flatnonzero(here & (states.cost + refit + extra == price)):
                    yield int(row), args, int(refit[row])
        for argument in self.rule.arguments:
            if argument.role == "target":
                same = states.low.prod(axis=1) == np.prod(sizes)
                for row in np.flatnonzero(same & (states.cost + self.price_of(argument, shape) == price)):
                    yield int(row), {**self.layer.args, argument.name: None}, 0

    def price_of(self, argument: Argument, value: Any) -> int:
        """The price of a new value of an argument."""
        return price_of(self.model, argument, value, self.layer, self.costs)

    def word_edits(self, args: Arguments) -> list[Edit]:
        """Edits of the words that differ from those of the layer."""
        return [
            Edit(
                "set",
                self.layer.name,
                a.name,
                args[a.name],
                self.price_of(a, args[a.name]),
                before=said(self.layer, a),
            )
            for a in self.rule.arguments
            if args[a.name] != self.layer.args[a.name]
        ]

    def _argued(self, shape: tuple[Range, ...], room: float) -> Iterator[tuple[int, Arguments]]:
        """All changes of arguments within the price; a new number is any, or what the input demands."""
        numbers = [list(self._free(a, shape)) for a in self.rule.arguments]
        for price, args in self.words():
            for changes in _chosen([choices for choices in numbers if choices], room - price):
                if _bounded(changes):
                    total = price + sum(cost for cost, _, _ in changes)
                    yield total, {**args, **{name: value for _, name, value in changes}}

    def _free(self, argument: Argument, shape: tuple[Range, ...]) -> Iterator[tuple[int, str, Any]]:
        """A number at the price of any number, or at that of one which given weights imply."""
        if argument.choices or argument.role in ("flag", "target"):
            return
        old = self.layer.args[argument.name]
        if argument.role == "derived":
            for value in derived(argument, old, shape):
                yield self.costs.roles[argument.role], argument.name, value
            return
        for value in self._bounded_values(argument):
            yield self.costs.roles[argument.role], argument.name, value
        free = Range(np.asarray(float(argument.low)), np.asarray(np.inf))
        value = (free,) * len(old) if isinstance(old, tuple) else free
        half = half_kernel(argument, self.layer)
        if half:
            few = tuple(Range(free.low, np.asarray(float(h))) for h in half)
            yield self.costs.roles[argument.role], argument.name, few
        yield self.costs.wide_padding if half else self.costs.roles[argument.role], argument.name, value
        for width in given_widths(self.layer).get(argument.name, ()):
            yield self.costs.width_of_weights, argument.name, width

    def _bounded_values(self, argument: Argument) -> Iterator[Any]:
        """All values of arguments that others of the layer bound: groups divide widths, and see below."""
        args = self.layer.args
        width = next((args[name] for name in WIDTHS if name in args), None)
        if argument.name in BOUNDED and argument.role == "groups" and width is not None:
            yield from (d for d in range(1, width + 1) if width % d == 0)
        if argument.name == "output_padding":
            steps = args.get("strides", args.get("stride"))
            more = args.get("dilation", args.get("dilations", (1,) * len(steps)))
            tops = [max(s, d, 1) for s, d in zip(steps, more, strict=True)]
            if argument.low < 0:
                yield (-1,) * len(steps)
            yield from product(*(range(top) for top in tops))

    def _applied(
        self, states: States, shape: tuple[Range, ...], args: Arguments
    ) -> tuple[Sequence[Any], Flags, Prices] | None:
        try:
            outcome = self.rule([shape], args)
        except RankMismatch:
            return None
        if len(outcome.shape) not in self.ranks:
            return None
        may = np.ones(len(states), dtype=bool)
        for need in outcome.requirements:
            may &= may_hold(need.holds)
        out = outcome.shape
        if not self.costs.collapse and self._resizes(args):
            out = spared(self.layer.kind, args, shape, out)
        return out, may, self._refit(outcome.weights, len(states))

    def _resizes(self, args: Arguments) -> bool:
        """Whether the layer decides anew about its positions, or has to keep several."""
        changed = [a.role for a in self.rule.arguments if args[a.name] is not self.layer.args[a.name]]
        return (
            self.swapped or self.layer.name in self.model.guarded or any(role in SPATIAL for role in changed)
        )

    def _refit(self, weights: Mapping[str, Any], count: int) -> Prices:
        """The least price of given weights that do not fit: one for all of the layer."""
        fits, turned = np.ones(count, dtype=bool), np.ones(count, dtype=bool)
        no = np.zeros(count, dtype=bool)
        for name, given in self.layer.weights.items():
            need = weights.get(name, given)
            fits &= _may_be(given, need)
            orders = set(permutations(given)) if len(given) == len(need) else set()
            turned &= np.any([np.broadcast_to(_may_be(o, need), (count,)) for o in orders] or [no], axis=0)
        price = np.where(turned, min(self.costs.transpose, self.costs.weights), self.costs.weights)
        return np.where(fits, 0, price).astype(np.int64)

    def _targets(self, argument: Argument, states: States, rank: int) -> Iterator[tuple[int, States]]:
        """Any other target; one with another number of elements than the old one is dearer."""
        old = self.layer.args[argument.name][1 if argument.name == "shape" else 0 :]
        axes = states.low.shape[1]
        counts = Range(np.ones(len(states)), np.ones(len(states)))
        for axis in states.axes(range(axes - rank, axes)):
            counts = counts * axis
        wanted = 1
        for size in old:
            wanted *= size
        kept = np.ones(len(states), bool) if -1 in old else (counts == wanted).may
        yield from self.insertions.reshaped(states.rows(kept), rank, self.costs.roles["target"])
        yield from self.insertions.reshaped(states.rows(~kept), rank, self.costs.target_total)

    def combined(
        self, states: States, ranks: tuple[int, int], args: Arguments, swapped: bool
    ) -> tuple[int, States] | None:
        """Two inputs, the last columns, as the one output of a merge."""
        axes = states.low.shape[1]
        middle, start = axes - ranks[1], axes - ranks[1] - ranks[0]
        one, other = states.axes(range(start, middle)), states.axes(range(middle, axes))
        found = merged(self.rule, args, *((other, one) if swapped else (one, other)))
        if found is None or len(found[0]) not in self.ranks:
            return None
        out, holds = found
        may = np.broadcast_to(may_hold(holds), (len(states),))
        return len(out), states.columns(range(start)).with_axes(out).rows(may)


Change: TypeAlias = tuple[int, str, Any]


def _chosen(lists: Sequence[Sequence[Change]], room: float) -> Iterator[tuple[Change, ...]]:
    """At most one change of each list, within a price."""
    if room < 0:
        return
    if not lists:
        yield ()
        return
    yield from _chosen(lists[1:], room)
    for change in lists[0]:
        for rest in _chosen(lists[1:], room - change[0]):
            yield (change, *rest)


def _bounded(changes: Sequence[Change]) -> bool:
    """Arguments that others bound are any numbers only where one of those others is any number too."""
    names = {name for _, name, _ in changes}
    for _, name, value in changes:
        free = isinstance(value[0] if isinstance(value, tuple) else value, Range)
        if free and name in BOUNDED and not names & set(BOUNDED[name]):
            return False
    return True


def may_hold(truth: Any) -> Flags:
    """Whether a condition can hold."""
    return truth.may if isinstance(truth, Possible) else np.asarray(bool(truth))


def _may_be(shape: Sequence[Any], need: Sequence[Any]) -> Flags:
    if len(shape) != len(need):
        return np.asarray(False)
    return may_hold(every(a == b for a, b in zip(need, shape, strict=True)))
