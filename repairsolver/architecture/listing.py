"""All repairs of one price: z3 is asked again and again, each answer blocked, until it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import z3

from repairsolver.architecture.bounding.deadline import Deadline, TimeUpError
from repairsolver.architecture.costs import Costs
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.exact import Budget
from repairsolver.architecture.model import Model
from repairsolver.architecture.proving import refitted
from repairsolver.architecture.search import layouts
from repairsolver.architecture.transitions import Step

ROUNDS = 6
"""How often smaller changes of the numbers are asked for."""


@dataclass(frozen=True)
class Listing:
    """Repairs of one price.

    Args:
        repairs: different ones, each checked.
        kinds: whether every combination of edits is among them, with one choice of its numbers at least.
        complete: whether the numbers are all there too.
    """

    repairs: tuple[Step, ...]
    kinds: bool
    complete: bool


def list_repairs(
    model: Model, costs: Costs, price: int, *, limit: int, seconds: float, ranks: tuple[int, ...]
) -> Listing:
    """All repairs of a price below which there are none.

    First every combination of edits once, with numbers near the old ones; then other numbers for each of
    them. What z3 knows of an edge is one reshape, one change of sizes and one projection.

    Args:
        model: the layer graph.
        costs: prices of the edits.
        price: the least price at which there are repairs.
        limit: no more repairs than these.
        seconds: time in all.
        ranks: the ranks that tensors may have.
    """
    deadline = Deadline(seconds)
    found: dict[str, Step] = {}
    kinds = complete = True
    for variant, first in layouts(model, costs):
        if first.cost > price:
            continue
        try:
            query = _Query(variant, costs, price - first.cost, ranks, deadline)
            for edits in query.answers(limit - len(found)):
                way = refitted(model, (*first.edits, *edits), costs)
                if way is not None and way.cost == price:
                    found.setdefault(way.words, way)
        except TimeUpError:
            return Listing(tuple(sorted(found.values())), False, False)
        kinds, complete = kinds and query.kinds, complete and query.complete
    return Listing(tuple(sorted(found.values()))[:limit], kinds, complete)


class _Query:
    def __init__(
        self, model: Model, costs: Costs, budget: int, ranks: tuple[int, ...], deadline: Deadline
    ) -> None:
        self.budget = Budget(model, costs, budget, deadline, ranks)
        self.solver, self.deadline = self.budget.solver, deadline
        self.kinds = self.complete = False
        tensors = [*self.budget.tensors.values(), *(t for s in self.budget.slots for t in s.tensors[1:])]
        for tensor in tensors:
            # Sizes beyond the rank mean nothing: they must not make two answers of one.
            for axis, size in enumerate(tensor.sizes):
                self.solver.add(z3.Implies(tensor.rank <= axis, size == 1))
        self.numbers = [term for _, _, terms in self.budget.numbers for term in terms]
        self.terms = [*(t for tensor in tensors for t in (tensor.rank, *tensor.sizes)), *self.numbers]
        olds = [o for layer, a, _ in self.budget.numbers for o in _flat(layer.args[a.name])]
        moved = [z3.If(t >= o, t - o, o - t) for t, o in zip(self.numbers, olds, strict=True)]
        self.moved = z3.Sum(moved) if moved else z3.IntVal(0)

    def answers(self, limit: int) -> Iterator[list[Edit]]:
        """Edits of at most `limit` answers; then `kinds` and `complete` are known."""
        seen: list[tuple[list[Any], list[Any]]] = []
        self.solver.push()
        while len(seen) < limit and (model := self._next()) is not None:
            flags = [flag for flag, _ in self.budget.prices if z3.is_true(model[flag])]
            model = self._near(model, flags)
            yield list(self.budget.edits(model))
            seen.append((flags, self._differs(model)))
            self.solver.add(z3.Not(z3.And(*flags)) if flags else z3.BoolVal(False))
        self.kinds = len(seen) < limit
        self.solver.pop()
        left, exhausted = limit - len(seen), 0
        for number, (flags, differs) in enumerate(seen):
            share = left // (len(seen) - number)
            self.solver.push()
            self.solver.add(*flags, z3.Or(*differs))
            while share and (model := self._next()) is not None:
                yield list(self.budget.edits(model))
                self.solver.add(z3.Or(*self._differs(model)))
                share, left = share - 1, left - 1
            exhausted += share > 0
            self.solver.pop()
        self.complete = self.kinds and exhausted == len(seen)

    def _differs(self, model: Any) -> list[Any]:
        return [term != model.eval(term, model_completion=True) for term in self.terms]

    def _next(self) -> Any:
        """An assignment, or None where there is none; raises TimeUpError."""
        self.deadline.check()
        self.solver.set("timeout", max(1, int(1000 * self.deadline.left)))
        verdict = self.solver.check()
        if verdict == z3.unknown:
            raise TimeUpError
        return self.solver.model() if verdict == z3.sat else None

    def _near(self, model: Any, flags: Sequence[Any]) -> Any:
        """Numbers nearer to the old ones with the same choices, as far as a few questions lead."""
        self.solver.push()
        self.solver.add(*flags)
        for _ in range(ROUNDS):
            self.solver.add(self.moved < model.eval(self.moved, model_completion=True))
            self.solver.set("timeout", max(1, int(1000 * min(1.0, self.deadline.left))))
            if self.solver.check() != z3.sat:
                break
            model = self.solver.model()
        self.solver.pop()
        return model


def _flat(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
