"""Which layers cannot go together: an irreducible set of rules that contradict each other.

A fault shows at one layer, but its cause is a set of statements: an input shape, some layers' arguments, a
demand on the output. Every statement is a constraint on the shapes around it; these are free. z3
finds a set that has no solution, and statements are left out of it one by one as long as there is none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import z3

from layerwise.shapes import RankMismatch
from layerwise.shapes.terms import every
from repairsolver.architecture.model import Layer, Model
from repairsolver.architecture.slots import RANKS, Tensor


@dataclass(frozen=True)
class Contradiction:
    """Statements that cannot all hold.

    Args:
        statements: what the user wrote, in the order of the model.
        irreducible: whether every one of them is needed; else time was up.
    """

    statements: tuple[str, ...]
    irreducible: bool

    def __str__(self) -> str:
        head = "these contradict each other" + (", and each is needed" if self.irreducible else "")
        return "\n  ".join([f"{head}:", *self.statements])


def contradiction(model: Model, *, seconds: float = 10.0) -> Contradiction | None:
    """An irreducible set of contradicting statements; None where all go together, or z3 cannot say.

    Tensors have ranks of 1 to 4; statements on others are left out.

    Args:
        model: the layer graph.
        seconds: time in all.
    """
    end = time.perf_counter() + seconds
    statements = _statements(model)
    core = _refused(statements, list(statements), end)
    if core is None:
        return None
    needed: list[str] = []
    sure = True
    for name in list(core):
        if name not in core:
            continue
        rest = [other for other in core if other != name]
        smaller = _refused(statements, rest, end)
        if smaller is None:
            needed.append(name)
            sure = sure and _decided(statements, rest, end)
        else:
            core = [*(n for n in needed), *(n for n in smaller if n not in needed)]
    kept = set(core)
    return Contradiction(tuple(name for name in statements if name in kept), sure)


def _refused(statements: Mapping[str, Any], names: list[str], end: float) -> list[str] | None:
    """A subset that z3 refuses; None where it does not refuse."""
    solver, marks = _solver(statements, names, end)
    if solver.check(*marks) != z3.unsat:
        return None
    refused = {str(mark) for mark in solver.unsat_core()}
    return [name for name in names if name in refused]


def _decided(statements: Mapping[str, Any], names: list[str], end: float) -> bool:
    """Whether z3 finds shapes for these statements."""
    solver, marks = _solver(statements, names, end)
    return bool(solver.check(*marks) == z3.sat)


def _solver(statements: Mapping[str, Any], names: list[str], end: float) -> tuple[Any, list[Any]]:
    solver = z3.Solver()
    solver.set("timeout", max(1, int(1000 * (end - time.perf_counter()))))
    marks = []
    for name in names:
        mark = z3.Bool(name)
        solver.add(z3.Implies(mark, statements[name]))
        marks.append(mark)
    return solver, marks


def _statements(model: Model) -> dict[str, Any]:
    """What each input, layer and demand says of the shapes around it."""
    sizes = z3.Solver()
    names = [*model.inputs, *(layer.name for layer in model.layers)]
    tensors = {name: Tensor(sizes, name) for name in names}
    known = z3.And(*sizes.assertions())
    found: dict[str, Any] = {}
    for name, shape in model.inputs.items():
        if 0 not in shape and len(shape) in RANKS:
            found[f"input {name} is {shape}"] = z3.And(known, tensors[name].equals(shape))
    for layer in model.layers:
        holds = _layer(model, layer, tensors)
        if holds is not None:
            found[_said(layer)] = z3.And(known, holds)
    for name, wanted in model.outputs.items():
        if wanted is not None and len(wanted) in RANKS:
            found[f"output {name} is {wanted}"] = z3.And(known, tensors[name].equals(wanted))
    return found


def _layer(model: Model, layer: Layer, tensors: Mapping[str, Tensor]) -> Any:
    """The rule at every combination of ranks that it takes; None where it takes none of the known ones."""
    options = []
    feeds, out = [tensors[name] for name in layer.inputs], tensors[layer.name]
    for ranks in product(RANKS, repeat=len(feeds)):
        shapes = [feed.shape(rank) for feed, rank in zip(feeds, ranks, strict=True)]
        try:
            outcome = model.rule(layer)(shapes, layer.args)
        except RankMismatch:
            continue
        if len(outcome.shape) in RANKS:
            needs = every([need.holds for need in outcome.requirements])
            at = [feed.rank == rank for feed, rank in zip(feeds, ranks, strict=True)]
            options.append(z3.And(*at, needs, out.equals(outcome.shape), *_weights(layer, outcome.weights)))
    return z3.Or(*options) if options else None


def _weights(layer: Layer, wanted: Mapping[str, Any]) -> list[Any]:
    """That given weights have the shapes that the layer needs."""
    equal = []
    for name, given in layer.weights.items():
        need = wanted.get(name, given)
        if len(need) != len(given):
            return [z3.BoolVal(False)]
        equal += [n == g for n, g in zip(need, given, strict=True)]
    return equal


def _said(layer: Layer) -> str:
    stated = ", ".join(f"{name}={value}" for name, value in (layer.stated or layer.args).items())
    return f"{layer.name} is {layer.kind}({stated})"
