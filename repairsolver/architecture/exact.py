"""A proof that nothing cheaper repairs a layer graph: the layer rules as z3 terms, under a budget.

The constraints relax the edits that the search may make (an inserted layer may do more than any real one for its
price, an argument may take any value), so that a refusal covers all of them. z3's own optimiser is not used: it
returns unknown on products of unknowns where a budget is decided in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import Any, Literal, TypeAlias

import z3

from layerwise.shapes import Argument, RankMismatch
from layerwise.shapes.terms import every
from layerwise.shapes.terms import product as elements
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.model import Layer, Model, Shape

Refusal: TypeAlias = Literal["refused", "possible", "unknown"]
RANKS = (1, 2, 3, 4)


class _Tensor:
    """A shape of unknown rank: the first `rank` sizes count."""

    def __init__(self, name: str) -> None:
        self.rank = z3.Int(f"{name}.rank")
        self.sizes = [z3.Int(f"{name}.{axis}") for axis in range(max(RANKS))]

    def shape(self, rank: int) -> tuple[Any, ...]:
        return tuple(self.sizes[:rank])

    def limits(self) -> list[Any]:
        return [self.rank >= 1, self.rank <= max(RANKS), *(size >= 1 for size in self.sizes)]

    def equals(self, shape: Sequence[Any]) -> Any:
        pairs = zip(self.sizes, shape, strict=False)
        return z3.And(self.rank == len(shape), *(a == b for a, b in pairs))

    def same(self, other: _Tensor) -> Any:
        cases = [z3.And(self.rank == r, other.equals(self.shape(r))) for r in RANKS]
        return z3.Or(*cases)


class Budget:
    """The relaxed constraints of one model, within a budget.

    Args:
        model: the layer graph.
        costs: prices of the edits.
        budget: what the edits may cost in all; dearer options are left out from the start.
    """

    def __init__(self, model: Model, costs: Costs, budget: int) -> None:
        self.model, self.costs, self.budget = model, costs, budget
        self.solver = z3.Solver()
        self.prices: list[Any] = []
        self.tensors = {
            name: self._tensor(name) for name in [*model.inputs, *(layer.name for layer in model.layers)]
        }
        for name, shape in model.inputs.items():
            self._input(name, shape)
        for layer in model.layers:
            self._layer(layer)
        for name, wanted in model.outputs.items():
            if wanted is not None:
                end = self._edge(self.tensors[name], f"{name}.end")
                self.solver.add(end.equals(wanted))
        self.solver.add(z3.Sum([z3.IntVal(0), *self.prices]) <= budget)

    def decide(self, seconds: float) -> Refusal:
        """Whether any edits fit the budget: refused is a proof that none do."""
        self.solver.set("timeout", max(1, int(1000 * seconds)))
        verdict = self.solver.check()
        return "refused" if verdict == z3.unsat else "possible" if verdict == z3.sat else "unknown"

    def _tensor(self, name: str) -> _Tensor:
        tensor = _Tensor(name)
        self.solver.add(*tensor.limits())
        return tensor

    def _price(self, name: str, options: Sequence[tuple[int, Any]]) -> None:
        """One of several constraints holds, and its price is paid."""
        price = z3.Int(f"{name}.price")
        self.prices.append(price)
        paid = [z3.And(price == cost, holds) for cost, holds in options if cost <= self.budget]
        self.solver.add(z3.Or(*paid), price >= 0)

    def _input(self, name: str, shape: Shape) -> None:
        tensor, options = self.tensors[name], []
        fed = self.costs.declared if name in self.model.declared else 0
        if 0 not in shape:
            options.append((fed, tensor.equals(shape)))
        others = set(permutations(shape)) | {shape[1:]}
        cost = self.costs.input_layout
        options += [
            (cost, tensor.equals(other)) for other in others if 0 not in other and len(other) in RANKS
        ]
        self._price(name, options)

    def _edge(self, source: _Tensor, name: str) -> _Tensor:
        """What inserted layers may do at least for each price; beyond the strided projection it is anything."""
        end, price = self._tensor(name), self.costs.adapters
        same_rank = source.rank == end.rank
        width, ends = self._width(source), self._width(end)
        reshape = min(price["Flatten"], price["Reshape"])
        spatial = min(price["Pad"], price["Crop"], price["Upsample"], price["Pool"])
        options = [
            (0, source.same(end)),
            (reshape, z3.And(z3.Not(same_rank), self._count(source) == self._count(end))),
            (price["Permute"], z3.And(same_rank, self._count(source) == self._count(end))),
            (spatial, z3.And(same_rank, source.rank >= 2, width == ends)),
            (price["Project"], z3.And(same_rank, *self._projected(source, end))),
            (price["GlobalPool"], end.equals((width,))),
            (min(price["Stride"], reshape + spatial, reshape + price["Project"]), z3.BoolVal(True)),
        ]
        self._price(name, options)
        return end

    def _width(self, tensor: _Tensor) -> Any:
        if self.model.framework == "torch":
            return tensor.sizes[0]
        chosen = tensor.sizes[0]
        for rank in RANKS[1:]:
            chosen = z3.If(tensor.rank == rank, tensor.sizes[rank - 1], chosen)
        return chosen

    def _projected(self, source: _Tensor, end: _Tensor) -> Iterator[Any]:
        for rank in RANKS:
            kept = range(1, rank) if self.model.framework == "torch" else range(rank - 1)
            equal = z3.And(*(source.sizes[i] == end.sizes[i] for i in kept))
            yield z3.Implies(source.rank == rank, equal)

    def _count(self, tensor: _Tensor) -> Any:
        total = elements(tensor.shape(1))
        for rank in RANKS[1:]:
            total = z3.If(tensor.rank == rank, elements(tensor.shape(rank)), total)
        return total

    def _layer(self, layer: Layer) -> None:
        out = self.tensors[layer.name]
        feeds = [self._edge(self.tensors[s], f"{layer.name}.{i}") for i, s in enumerate(layer.inputs)]
        options = list(self._uses(layer, feeds, out))
        if len(feeds) == 1:
            pool = layer.kind.startswith("Global")
            price = self.costs.remove_global_pool if pool else self.costs.remove
            options.append((price, feeds[0].same(out)))
        self._price(layer.name, options)

    def _uses(self, layer: Layer, feeds: Sequence[_Tensor], out: _Tensor) -> Iterator[tuple[int, Any]]:
        """The layer at every combination of ranks and of words among its arguments."""
        numbers = self._numbers(layer)
        for words, cost in self._words(layer):
            args = {**layer.args, **numbers, **words}
            for ranks in product(RANKS, repeat=len(feeds)):
                shapes = [feed.shape(rank) for feed, rank in zip(feeds, ranks, strict=True)]
                holds = self._valid(layer, shapes, args, out)
                if holds is not None:
                    at = [feed.rank == rank for feed, rank in zip(feeds, ranks, strict=True)]
                    yield cost, z3.And(*at, holds)
        for argument in self.model.rule(layer).arguments:
            if argument.role == "target" and self.costs.roles["target"] <= self.budget:
                yield self.costs.roles["target"], self._count(feeds[0]) == self._count(out)

    def _valid(self, layer: Layer, shapes: Sequence[Any], args: Mapping[str, Any], out: _Tensor) -> Any:
        try:
            outcome = self.model.rule(layer)(shapes, args)
        except RankMismatch:
            return None
        if len(outcome.shape) not in RANKS:
            return None
        needs = every(need.holds for need in outcome.requirements)
        holds = [needs, out.equals(outcome.shape)]
        if layer.weights:
            holds.append(self._refit(layer, outcome.weights))
        return None if needs is False else z3.And(*holds)

    def _refit(self, layer: Layer, wanted: Mapping[str, Shape]) -> Any:
        """The price of given weights that do not fit, paid through one term of the layer."""
        price = z3.Int(f"{layer.name}.weights")
        if not any(p is not None and str(p) == str(price) for p in self.prices):
            self.prices.append(price)
        fits, turned = [], []
        for name, given in layer.weights.items():
            need = wanted.get(name, given)
            orders = set(permutations(given)) if len(given) == len(need) else set()
            fits.append(_equal(given, need))
            turned.append(z3.Or(*[_equal(order, need) for order in orders]) if orders else z3.BoolVal(False))
        free, cheap = z3.And(*fits), z3.And(*turned)
        return price >= z3.If(free, 0, z3.If(cheap, self.costs.transpose, min(self.costs.weights, 7)))

    def _numbers(self, layer: Layer) -> dict[str, Any]:
        """Every number among the arguments as an unknown, at a price if it is not the old one."""
        free = {}
        for argument in self.model.rule(layer).arguments:
            old = layer.args[argument.name]
            if argument.choices or argument.role in ("flag", "target"):
                continue
            cost = self._cost(layer, argument)
            if cost > self.budget:
                continue
            olds = old if isinstance(old, tuple) else (old,)
            terms = tuple(z3.Int(f"{layer.name}.{argument.name}.{i}") for i in range(len(olds)))
            low = argument.low if argument.role != "padding" else 0
            self.solver.add(*(term >= low for term in terms))
            self._price(f"{layer.name}.{argument.name}", [(0, _equal(olds, terms)), (cost, z3.BoolVal(True))])
            free[argument.name] = terms if isinstance(old, tuple) else terms[0]
        return free

    def _cost(self, layer: Layer, argument: Argument) -> int:
        cost = self.costs.roles[argument.role]
        return min(cost, self.costs.width_of_weights) if layer.weights and argument.role == "width" else cost

    def _words(self, layer: Layer) -> Iterator[tuple[dict[str, Any], int]]:
        """Arguments that are words, axes or switches, with the price of changing one or more."""
        lists = []
        for argument in self.model.rule(layer).arguments:
            old = layer.args[argument.name]
            values: list[Any] = [old]
            if argument.choices and argument.name != "data_format":
                values += [value for value in argument.choices if value != old]
            elif argument.name == "axis":
                values += [axis for axis in RANKS if axis != old]
            elif layer.kind == "Dot":
                values += [axes for axes in product(RANKS, repeat=2) if axes != old]
            if len(values) > 1:
                lists.append([(argument.name, v, 0 if v == old else self._word(argument, v)) for v in values])
        for choice in product(*lists):
            cost = sum(price for _, _, price in choice)
            if cost <= self.budget:
                yield {name: value for name, value, _ in choice}, cost

    def _word(self, argument: Argument, value: Any) -> int:
        return self.costs.unpad if value == "valid" else self.costs.roles[argument.role]


def _equal(shape: Sequence[Any], other: Sequence[Any]) -> Any:
    if len(shape) != len(other):
        return z3.BoolVal(False)
    return z3.And(*(a == b for a, b in zip(shape, other, strict=True)))


def refuse(model: Model, costs: Costs, budget: int, seconds: float) -> Refusal:
    """Whether no edits within the budget repair the model, decided by z3 alone."""
    return "refused" if budget < 0 else Budget(model, costs, budget).decide(seconds)
