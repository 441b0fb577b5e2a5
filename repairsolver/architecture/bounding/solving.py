"""Numbers for arguments that a relaxed repair leaves open: between two known shapes z3 finds them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from layerwise.shapes import RankMismatch
from layerwise.shapes.ranges import Range
from layerwise.shapes.terms import every
from repairsolver.architecture.bounding.options import Arguments, Options
from repairsolver.architecture.candidates import change, said
from repairsolver.architecture.edits import Edit
from repairsolver.architecture.model import Layer, Shape

ROUNDS = 12
"""How often smaller changes of the numbers are asked for."""


def argument_changes(
    options: Options, feed: Shape, shape: Shape, args: Arguments, refit: int
) -> list[Edit] | None:
    """Edits of the arguments after which the layer makes one shape of the other; None where no numbers do.

    Given weights then cost `refit` to bring to their shapes.
    """
    layer = options.layer
    open_ = [name for name, value in args.items() if _is_open(value)]
    numbers: dict[str, Any] = {}
    if open_:
        found = _numbers(options, feed, shape, args, open_, refit)
        if found is None:
            return None
        numbers = found
    edits = []
    for argument in options.rule.arguments:
        old, new = layer.args[argument.name], numbers.get(argument.name, args[argument.name])
        if argument.role == "target" and new is None:
            new = (old[0], *shape) if argument.name == "shape" else shape
        if new != old:
            price = options.price_of(argument, new)
            edits.append(
                Edit(
                    "set",
                    layer.name,
                    argument.name,
                    new,
                    price,
                    change(old, new),
                    before=said(layer, argument),
                )
            )
    return edits


def _is_open(value: Any) -> bool:
    return isinstance(value, Range) or (isinstance(value, tuple) and any(isinstance(v, Range) for v in value))


def _numbers(
    options: Options, feed: Shape, shape: Shape, args: Arguments, open_: Sequence[str], refit: int
) -> dict[str, Any] | None:
    """The numbers with the least sum of changes that a few questions lead to."""
    import z3

    layer, solver = options.layer, z3.Solver()
    solver.set("timeout", 2000)
    unknown = {name: _terms(z3, layer, name) for name in open_}
    for name, terms in unknown.items():
        solver.add(*(term >= options.rule.argument(name).low for term in terms))
        solver.add(*_tops(args[name], terms))
    filled = {n: t if isinstance(layer.args[n], tuple) else t[0] for n, t in unknown.items()}
    try:
        outcome = options.rule([feed], {**args, **filled})
    except RankMismatch:
        return None
    if len(outcome.shape) != len(shape):
        return None
    solver.add(every(need.holds for need in outcome.requirements))
    solver.add(*(a == b for a, b in zip(outcome.shape, shape, strict=True)))
    if refit < options.costs.weights:
        for name, given in layer.weights.items():
            solver.add(_same_weight(z3, given, outcome.weights.get(name, given), turned=refit > 0))
    moved = z3.Sum(*(z3.Abs(t - o) for n, terms in unknown.items() for t, o in _pairs(layer, n, terms)))
    best = None
    for _ in range(ROUNDS):
        if solver.check() != z3.sat:
            break
        model = solver.model()
        best = {
            name: tuple(model.eval(term, model_completion=True).as_long() for term in terms)
            for name, terms in unknown.items()
        }
        solver.add(moved < model.eval(moved, model_completion=True))
    if best is None:
        return None
    return {name: v if isinstance(layer.args[name], tuple) else v[0] for name, v in best.items()}


def _tops(value: Any, terms: Sequence[Any]) -> Iterator[Any]:
    """Upper bounds of numbers that are not any; where each row has its own, the largest."""
    ranges = value if isinstance(value, tuple) else (value,)
    for term, entry in zip(terms, ranges, strict=True):
        if isinstance(entry, Range) and np.isfinite(entry.high).all():
            yield term <= int(np.max(entry.high))


def _terms(z3: Any, layer: Layer, name: str) -> tuple[Any, ...]:
    old = layer.args[name]
    return tuple(z3.Int(f"{name}.{i}") for i in range(len(old) if isinstance(old, tuple) else 1))


def _pairs(layer: Layer, name: str, terms: tuple[Any, ...]) -> list[tuple[Any, int]]:
    old = layer.args[name]
    return list(zip(terms, old if isinstance(old, tuple) else (old,), strict=True))


def _same_weight(z3: Any, given: Shape, need: Sequence[Any], *, turned: bool) -> Any:
    """That a given weight has the shape that is needed, perhaps in another order of its axes."""
    if len(given) != len(need):
        return z3.BoolVal(False)
    orders = set(permutations(given)) if turned else {tuple(given)}
    return z3.Or(*(z3.And(*(n == g for n, g in zip(need, order, strict=True))) for order in orders))
