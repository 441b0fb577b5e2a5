"""A proof that nothing cheaper repairs a layer graph: the layer rules as z3 terms, under a budget.

The edits are those of the search, but every number is free: sizes between inserted layers, reshape targets,
arguments. A refusal therefore covers every repair within the budget, and an answer is one that the search
may have missed. z3's own optimiser is not used: it returns unknown on products of unknowns where a budget is
decided in a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any, Literal

import z3

from layerwise.shapes import Argument, RankMismatch
from layerwise.shapes.terms import every
from layerwise.shapes.terms import product as elements
from repairsolver.architecture.adapters import Adapters
from repairsolver.architecture.alternatives import alternatives
from repairsolver.architecture.bounding.deadline import FOREVER, Deadline, TimeUpError
from repairsolver.architecture.bounding.sweep import Stretch, stretches
from repairsolver.architecture.candidates import price_of, said
from repairsolver.architecture.changes import (
    Option,
    kept_positions,
    least_price,
    number_changes,
    word_changes,
)
from repairsolver.architecture.collapse import pools_before
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Layer, Model, Shape
from repairsolver.architecture.rewiring import rewiring, sources
from repairsolver.architecture.slots import RANKS, Slot, Tensor, equal
from repairsolver.architecture.transitions import Step


@dataclass(frozen=True)
class Answer:
    """What z3 says about a budget: refused (a proof that no edits fit), or edits that fit, or unknown."""

    status: Literal["refused", "possible", "unknown"]
    edits: tuple[Edit, ...] = ()


class Budget:
    """The constraints of one model, within a budget.

    Args:
        model: the layer graph.
        costs: prices of the edits.
        budget: what the edits may cost in all; dearer options are left out from the start.
        deadline: raises `TimeUpError` while the constraints are written down.
        ranks: the ranks that tensors may have.
        parts: stretches of layers with what each costs at least: so much less is left for the others.
    """

    def __init__(
        self,
        model: Model,
        costs: Costs,
        budget: int,
        deadline: Deadline = FOREVER,
        ranks: tuple[int, ...] = RANKS,
        parts: Sequence[Stretch] = (),
    ) -> None:
        self.model, self.costs, self.budget, self.ranks = model, costs, budget, ranks
        self.parts = parts or [Stretch(0, len(model.layers), 0)]
        self.solver = z3.Solver()
        self.prices: list[tuple[Any, int]] = []
        self.chosen: list[tuple[Any, tuple[Edit, ...]]] = []
        self.numbers: list[tuple[Layer, Argument, tuple[Any, ...]]] = []
        self.slots: list[Slot] = []
        names = [*model.inputs, *(layer.name for layer in model.layers)]
        self.tensors = {name: Tensor(self.solver, name, ranks) for name in names}
        self.rewires: list[tuple[Any, Edit]] = []
        spare = budget - sum(part.least for part in self.parts)
        for part in self.parts:
            self.budget = int(spare + part.least)
            self._stretch(part, deadline)
        if self.prices:
            self.solver.add(z3.PbLe(self.prices, budget))
        self._limit_rewires()

    def _limit_rewires(self) -> None:
        """Something still reads what was given up, and no merge reads one tensor twice."""
        given_up: dict[str, list[Any]] = {}
        taken: dict[tuple[str, str], list[Any]] = {}
        for flag, edit in self.rewires:
            given_up.setdefault(edit.before, []).append(flag)
            taken.setdefault((edit.layer, edit.value), []).append(flag)
        for name, flags in given_up.items():
            self.solver.add(z3.PbLe([(flag, 1) for flag in flags], self.model.consumers[name] - 1))
        for flags in taken.values():
            self.solver.add(z3.PbLe([(flag, 1) for flag in flags], 1))

    def _stretch(self, part: Stretch, deadline: Deadline) -> None:
        """Inputs go with the first layers, outputs with the last."""
        if part.start == 0:
            for name, shape in self.model.inputs.items():
                self._choose(name, self._inputs(name, shape))
        for layer in self.model.layers[part.start : part.stop]:
            deadline.check()
            self._layer(layer)
        if part.stop == len(self.model.layers):
            for name, wanted in self.model.outputs.items():
                if wanted is not None:
                    self._output(name, wanted)

    def decide(self, seconds: float) -> Answer:
        """Whether any edits fit the budget."""
        self.solver.set("timeout", max(1, int(1000 * seconds)))
        verdict = self.solver.check()
        if verdict == z3.unsat:
            return Answer("refused")
        if verdict != z3.sat:
            return Answer("unknown")
        return Answer("possible", tuple(self.edits(self.solver.model())))

    def _choose(self, name: str, options: Sequence[Option]) -> None:
        """One of the options holds, and its price is paid."""
        flags = []
        for number, option in enumerate(options):
            if option.price <= self.budget:
                flag = z3.Bool(f"{name}.{number}")
                self.solver.add(z3.Implies(flag, option.holds))
                self.chosen.append((flag, option.edits))
                flags.append(flag)
                self.prices += [(flag, option.price)] * (option.price > 0)
                self.rewires += [(flag, edit) for edit in option.edits if edit.operation == "rewire"]
        self.solver.add(z3.PbEq([(flag, 1) for flag in flags], 1) if flags else z3.BoolVal(False))

    def _inputs(self, name: str, shape: Shape) -> list[Option]:
        tensor, built = self.tensors[name], self.model.declared.get(name)
        options = []
        if built is not None:
            edit = Edit("input", name, "declared shape", shape, self.costs.declared, before=built)
            return [Option(edit.cost, tensor.equals(shape), (edit,))]
        if 0 not in shape:
            options.append(Option(0, tensor.equals(shape)))
        others = [] if name in self.model.opaque else [*set(permutations(shape)), shape[1:]]
        for other in others:
            if 0 not in other and len(other) in self.ranks and other != shape:
                edit = Edit("input", name, "shape", other, self.costs.input_layout, before=shape)
                options.append(Option(edit.cost, tensor.equals(other), (edit,)))
        return options

    def _output(self, name: str, wanted: Shape) -> None:
        """The demanded shape after insertions, or another declaration."""
        end = self._slot(name, self.tensors[name], -1).end
        options = [Option(0, end.equals(wanted))]
        if self.model.redeclare:
            edit = Edit("output", name, "declared shape", None, self.costs.declared, before=wanted)
            options.append(Option(edit.cost, self.tensors[name].same(end), (edit,)))
        self._choose(f"{name}.declared", options)

    def _slot(self, name: str, source: Tensor, place: int) -> Slot:
        adapters = Adapters(self.model.framework, self.costs, name, place, self._pools(name, place))
        slot = Slot(self.solver, source, adapters, f"{name}.{place}", self.budget)
        self.prices += slot.prices
        self.slots.append(slot)
        return slot

    def _pools(self, name: str, place: int) -> bool:
        """Whether a global pool may be inserted on an edge."""
        if place < 0:
            return True
        layer = next(layer for layer in self.model.layers if layer.name == name)
        return pools_before(self.model, layer, self.costs, self.ranks)

    def _layer(self, layer: Layer) -> None:
        out = self.tensors[layer.name]
        slots = [self._slot(layer.name, self._source(layer, i), i) for i in range(len(layer.inputs))]
        feeds = [slot.end for slot in slots]
        refit = z3.Bool(f"{layer.name}.refit"), z3.Bool(f"{layer.name}.turn")
        if layer.weights:
            self.prices += [(refit[0], self.costs.weights), (refit[1], self.costs.transpose)]
        options = [
            option
            for form, swap in alternatives(self.model, layer, self.costs)
            if sum(edit.cost for edit in swap) <= self.budget
            for option in self._uses(form, feeds, out, refit, swap)
        ]
        if len(feeds) == 1:
            price = self.costs.remove_global_pool if layer.kind.startswith("Global") else self.costs.remove
            gone = Edit("remove", layer.name, layer.kind, cost=price)
            options.append(Option(price, self.tensors[layer.inputs[0]].same(out), (gone,)))
        self._choose(layer.name, options)

    def _source(self, layer: Layer, slot: int) -> Tensor:
        """The tensor that an input reads, or another one at the price of taking it."""
        old = self.tensors[layer.inputs[slot]]
        others = list(sources(self.model, layer, slot)) if self.costs.rewire <= self.budget else []
        if not others:
            return old
        read = Tensor(self.solver, f"{layer.name}.{slot}.read", self.ranks)
        edits = [rewiring(layer, slot, other, self.costs) for other in others]
        changed = [Option(e.cost, self.tensors[e.value].same(read), (e,)) for e in edits]
        self._choose(f"{layer.name}.{slot}.rewire", [Option(0, old.same(read)), *changed])
        return read

    def _uses(
        self,
        layer: Layer,
        feeds: Sequence[Tensor],
        out: Tensor,
        refit: Any,
        before: tuple[Edit, ...],
    ) -> Iterator[Option]:
        """The layer at every combination of ranks and of words among its arguments."""
        numbers = self._numbers(layer)
        for edits in word_changes(self.model, layer, self.costs, self.ranks, self.budget):
            edits = (*before, *edits)
            args = {**layer.args, **numbers, **{edit.name: edit.value for edit in edits}}
            for ranks in product(self.ranks, repeat=len(feeds)):
                shapes = [feed.shape(rank) for feed, rank in zip(feeds, ranks, strict=True)]
                holds = self._valid(layer, shapes, args, out, refit, edits)
                if holds is not None:
                    at = [feed.rank == rank for feed, rank in zip(feeds, ranks, strict=True)]
                    yield Option(sum(edit.cost for edit in edits), z3.And(*at, holds), edits)
        for argument in self.model.rule(layer).arguments:
            if argument.role == "target":
                yield from self._targets(layer, argument, feeds[0], out)

    def _targets(self, layer: Layer, argument: Argument, feed: Tensor, out: Tensor) -> Iterator[Option]:
        """Any target; its value is read off the output shape."""
        same = feed.count() == out.count()
        old = layer.args[argument.name][1 if argument.name == "shape" else 0 :]
        price, dear = self.costs.roles["target"], self.costs.target_total
        marks = [
            Edit("set", layer.name, argument.name, None, p, before=said(layer, argument))
            for p in (price, dear)
        ]
        kept = z3.BoolVal(True) if -1 in old else out.count() == elements(old)
        yield Option(price, z3.And(same, kept), (marks[0],))
        yield Option(dear, same, (marks[1],))

    def _valid(
        self,
        layer: Layer,
        shapes: Sequence[Any],
        args: Mapping[str, Any],
        out: Tensor,
        refit: Any,
        edits: tuple[Edit, ...],
    ) -> Any:
        try:
            outcome = self.model.rule(layer)(shapes, args)
        except RankMismatch:
            return None
        needs = every(need.holds for need in outcome.requirements)
        if len(outcome.shape) not in self.ranks or needs is False:
            return None
        holds = [needs, out.equals(outcome.shape)]
        if not self.costs.collapse:
            rule, guarded = self.model.rule(layer), layer.name in self.model.guarded
            holds.append(kept_positions(rule, layer, args, shapes[0], outcome.shape, edits, guarded))
        if layer.weights:
            holds.append(self._refit(layer, outcome.weights, refit))
        return z3.And(*holds)

    def _refit(self, layer: Layer, wanted: Mapping[str, Shape], paid: tuple[Any, Any]) -> Any:
        """The price of given weights that do not fit: one for all of a layer."""
        fits, turned = [], []
        for name, given in layer.weights.items():
            need = wanted.get(name, given)
            orders = set(permutations(given)) if len(given) == len(need) else set()
            fits.append(equal(given, need))
            turned.append(z3.Or(*[equal(order, need) for order in orders]) if orders else z3.BoolVal(False))
        return z3.Or(z3.And(*fits), z3.And(paid[1], *turned), paid[0])

    def _numbers(self, layer: Layer) -> dict[str, Any]:
        """Every number among the arguments as an unknown, at a price if it is not the old one."""
        free = {}
        for argument in self.model.rule(layer).arguments:
            old = layer.args[argument.name]
            if argument.choices or argument.role in ("flag", "target"):
                continue
            olds = old if isinstance(old, tuple) else (old,)
            if least_price(layer, argument, self.costs) > self.budget:
                continue
            terms = tuple(z3.Int(f"{layer.name}.{layer.kind}.{argument.name}.{i}") for i in range(len(olds)))
            self.solver.add(*(term >= argument.low for term in terms))
            place = f"{layer.name}.{layer.kind}.{argument.name}"
            changed = number_changes(layer, argument, terms, self.costs)
            self._choose(place, [Option(0, equal(olds, terms)), *changed])
            self.numbers.append((layer, argument, terms))
            free[argument.name] = terms if isinstance(old, tuple) else terms[0]
        return free

    def edits(self, found: Any) -> Iterator[Edit]:
        """The edits that an assignment stands for; weights are refitted by who applies them."""
        picked = [edit for flag, edits in self.chosen if z3.is_true(found[flag]) for edit in edits]
        gone = {edit.layer for edit in picked if edit.operation == "remove"}
        kinds = {layer.name: layer.kind for layer in self.model.layers}
        kinds |= {edit.layer: edit.name for edit in picked if edit.operation == "swap"}
        yield from (edit for edit in picked if edit.operation == "rewire")
        for slot in self.slots:
            if slot.adapters.slot < 0 or slot.adapters.layer not in gone:
                yield from slot.edits(found)
        for edit in picked:
            if edit.value is None and edit.operation == "output":
                yield replace(edit, value=self.tensors[edit.layer].value(found))
            elif edit.value is None and edit.operation == "set":
                shape = self.tensors[edit.layer].value(found)
                yield replace(edit, value=(-1, *shape) if edit.name == "shape" else shape)
            elif edit.operation != "rewire":
                yield edit
        for layer, argument, terms in self.numbers:
            old = layer.args[argument.name]
            numbers = tuple(found.eval(term, model_completion=True).as_long() for term in terms)
            new = numbers if isinstance(old, tuple) else numbers[0]
            if new != old and layer.name not in gone and layer.kind == kinds[layer.name]:
                price = price_of(self.model, argument, new, layer, self.costs)
                before = said(layer, argument)
                yield Edit("set", layer.name, argument.name, new, price, before=before)


def refuse(
    variants: Sequence[tuple[Model, Step]],
    costs: Costs,
    budget: int,
    seconds: float,
    ranks: tuple[int, ...] = RANKS,
) -> Answer:
    """Decide a budget for a model and its variants, each with the price at which it starts."""
    unknown, deadline = False, Deadline(seconds)
    for model, first in variants:
        if budget >= first.cost:
            left = budget - first.cost
            try:
                parts = stretches(model, costs, left, ranks, Deadline(deadline.left / 3))
                if sum(part.least for part in parts) > left:
                    continue
                answer = Budget(model, costs, left, deadline, ranks, parts).decide(deadline.left)
            except TimeUpError:
                return Answer("unknown")
            if answer.status == "possible":
                return Answer("possible", (*first.edits, *answer.edits))
            unknown = unknown or answer.status == "unknown"
    return Answer("unknown" if unknown else "refused")
