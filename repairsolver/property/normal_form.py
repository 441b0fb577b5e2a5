"""From a formula to regions: disjunctive normal form, one box per region.

A formula over half-spaces is a disjunction of conjunctions. In every conjunction the half-spaces of a
single input make a box; all others are rows C y + D x <= d. Disjuncts with the same box share one
region. A disjunct whose box is empty, or that contains a false constant, describes no point and is
dropped; when none is left the property has no regions and holds vacuously.

The normal form can be exponentially larger than the formula, so its size is limited: at most
`MAX_DISJUNCTS` disjuncts, `MAX_ROWS` half-spaces in them and `MAX_NUMBERS` float64 in all matrices and
boxes. Larger ones are refused with an error before they are built.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from repairsolver.property.formula import Formula
from repairsolver.property.linear import HalfSpace
from repairsolver.property.reader import Source
from repairsolver.property.specification import Conjunction, Region

MAX_DISJUNCTS = 100_000
MAX_ROWS = 1_000_000
MAX_NUMBERS = 50_000_000

Rows = tuple[HalfSpace, ...]
Bounds = dict[int, tuple[float, float]]
_NO_BOUNDS = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Variables:
    """The sizes of a network's input and output, and what the text calls an input."""

    inputs: int
    outputs: int
    input_name: Callable[[int], str]


@dataclass(slots=True)
class _Group:
    """Disjuncts that share a box: how the box differs from the common one, and their rows."""

    bounds: Bounds
    conjunctions: list[Rows] = field(default_factory=list)


def regions(formula: Formula, source: Source, variables: Variables) -> tuple[Region, ...]:
    """The regions of a conjunction of assertions.

    Args:
        formula: of kind `and`, as `formula.read_formula` returns it.

    Raises:
        PropertyError: plain assertions (outside every `or`) that contradict each other, inputs without
            finite bounds (all of them listed), or a normal form over the limits.
    """
    common, rows = _common_box(formula.literals, source, variables)
    disjuncts = disjunctive_normal_form(Formula("and", [], formula.parts), source)
    _check_size(len(disjuncts), sum(map(len, disjuncts)) + len(rows) * len(disjuncts), source)
    groups = _group(disjuncts, common, rows)
    _refuse_loose(groups, common, source, variables)
    _refuse_large(groups, source, variables)
    return _build(groups, common, variables)


def disjunctive_normal_form(formula: Formula, source: Source) -> list[Rows]:
    """The disjuncts of a formula, each a tuple of half-spaces that must all hold.

    Raises:
        PropertyError: more than `MAX_DISJUNCTS` disjuncts or `MAX_ROWS` half-spaces.
    """
    results: dict[int, list[Rows]] = {}
    stack = [(formula, False)]
    while stack:
        node, done = stack.pop()
        if not done:
            stack.append((node, True))
            stack.extend((part, False) for part in node.parts)
            continue
        below = [results.pop(id(part)) for part in node.parts]
        if node.kind == "or":
            results[id(node)] = _disjoin(node.literals, below, source)
        else:
            results[id(node)] = _conjoin(node.literals, below, source)
    return results[id(formula)]


def _disjoin(literals: list[HalfSpace], below: list[list[Rows]], source: Source) -> list[Rows]:
    alternatives: list[Rows] = [(literal,) for literal in literals]
    for part in below:
        alternatives.extend(part)
    _check_size(len(alternatives), sum(map(len, alternatives)), source)
    return alternatives


def _conjoin(literals: list[HalfSpace], below: list[list[Rows]], source: Source) -> list[Rows]:
    product: list[Rows] = [tuple(literals)]
    for part in below:
        rows = len(part) * sum(map(len, product)) + len(product) * sum(map(len, part))
        _check_size(len(product) * len(part), rows, source)
        product = [left + right for left in product for right in part]
    return product


def _check_size(disjuncts: int, rows: int, source: Source) -> None:
    if disjuncts > MAX_DISJUNCTS or rows > MAX_ROWS:
        raise source.error(
            0,
            f"the disjunctive normal form has {disjuncts} disjuncts with {rows} half-spaces or more; at most "
            f"{MAX_DISJUNCTS} and {MAX_ROWS} are built: split the property into several files",
        )


def _common_box(literals: list[HalfSpace], source: Source, variables: Variables) -> tuple[Bounds, Rows]:
    """Bounds of the inputs and the other rows of the assertions outside every `or`."""
    lower: dict[int, HalfSpace] = {}
    upper: dict[int, HalfSpace] = {}
    rows: list[HalfSpace] = []
    for literal in literals:
        if literal.is_input_bound:
            variable, sign = literal.terms[0]
            side = upper if sign > 0 else lower
            if variable not in side or literal.bound < side[variable].bound:
                side[variable] = literal
        elif not literal.is_constant:
            rows.append(literal)
        elif literal.is_never:
            raise source.error(literal.offset, "this comparison of constants is never true: remove it")
    _refuse_empty(lower, upper, source, variables)
    bounds = {
        variable: (
            -lower[variable].bound if variable in lower else -math.inf,
            upper[variable].bound if variable in upper else math.inf,
        )
        for variable in sorted(lower.keys() | upper.keys())
    }
    return bounds, tuple(rows)


def _refuse_empty(
    lower: dict[int, HalfSpace], upper: dict[int, HalfSpace], source: Source, variables: Variables
) -> None:
    empty = [i for i in sorted(lower.keys() & upper.keys()) if -lower[i].bound > upper[i].bound]
    if empty:
        listed = "; ".join(
            f"{variables.input_name(i)} >= {-lower[i].bound!r} ({source.position(lower[i].offset)}) and "
            f"{variables.input_name(i)} <= {upper[i].bound!r} ({source.position(upper[i].offset)})"
            for i in empty
        )
        raise source.error(
            lower[empty[0]].offset, f"lower bound above upper bound, correct one of them: {listed}"
        )


def _group(disjuncts: list[Rows], common: Bounds, rows: Rows) -> list[_Group]:
    """The disjuncts that are not obviously empty, by their box."""
    groups: dict[tuple[tuple[int, tuple[float, float]], ...], _Group] = {}
    for disjunct in disjuncts:
        bounds = _tightened(disjunct, common)
        if bounds is None:
            continue
        group = groups.setdefault(tuple(sorted(bounds.items())), _Group(bounds))
        group.conjunctions.append(
            rows + tuple(row for row in disjunct if not row.is_input_bound and not row.is_constant)
        )
    return list(groups.values())


def _tightened(disjunct: Rows, common: Bounds) -> Bounds | None:
    """The bounds that differ from the common ones; None where the disjunct is empty."""
    bounds: Bounds = {}
    for row in disjunct:
        if row.is_input_bound:
            variable, sign = row.terms[0]
            low, high = bounds.get(variable) or common.get(variable, _NO_BOUNDS)
            low, high = (low, min(high, row.bound)) if sign > 0 else (max(low, -row.bound), high)
            if low > high:
                return None
            bounds[variable] = (low, high)
        elif row.is_never:
            return None
    return {key: value for key, value in bounds.items() if value != common.get(key)}


def _refuse_loose(groups: list[_Group], common: Bounds, source: Source, variables: Variables) -> None:
    unsure = [i for i in range(variables.inputs) if not _finite(common.get(i, _NO_BOUNDS))]
    loose = [i for i in unsure if any(not _finite(group.bounds.get(i, _NO_BOUNDS)) for group in groups)]
    if loose:
        names = ", ".join(_runs(loose, variables.input_name))
        raise source.error(
            0,
            f"{len(loose)} of {variables.inputs} inputs lack a finite lower or upper bound of their own: "
            f"{names}; assert both (in every disjunct)",
        )


def _runs(numbers: list[int], name: Callable[[int], str]) -> list[str]:
    """Names of ascending numbers, consecutive ones as `first to last`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [name(first) if first == last else f"{name(first)} to {name(last)}" for first, last in runs]


def _finite(bounds: tuple[float, float]) -> bool:
    return math.isfinite(bounds[0]) and math.isfinite(bounds[1])


def _refuse_large(groups: list[_Group], source: Source, variables: Variables) -> None:
    rows = sum(len(conjunction) for group in groups for conjunction in group.conjunctions)
    numbers = rows * (variables.inputs + variables.outputs + 1) + 2 * len(groups) * variables.inputs
    if numbers > MAX_NUMBERS:
        raise source.error(
            0,
            f"the property's matrices would hold {numbers} numbers; the limit is {MAX_NUMBERS}: split the "
            "property into several files",
        )


def _build(groups: list[_Group], common: Bounds, variables: Variables) -> tuple[Region, ...]:
    lower = np.array([common.get(i, _NO_BOUNDS)[0] for i in range(variables.inputs)])
    upper = np.array([common.get(i, _NO_BOUNDS)[1] for i in range(variables.inputs)])
    built: dict[tuple[int, ...], Conjunction] = {}
    result = []
    for group in groups:
        low, high = lower.copy(), upper.copy()
        for variable, (smallest, largest) in group.bounds.items():
            low[variable], high[variable] = smallest, largest
        unsafe = []
        for rows in group.conjunctions:
            key = tuple(map(id, rows))
            if key not in built:
                built[key] = _conjunction(rows, variables)
            unsafe.append(built[key])
        result.append(Region(low, high, tuple(unsafe)))
    return tuple(result)


def _conjunction(rows: Rows, variables: Variables) -> Conjunction:
    output = np.zeros((len(rows), variables.outputs))
    inputs = np.zeros((len(rows), variables.inputs))
    for index, row in enumerate(rows):
        for variable, coefficient in row.terms:
            if variable >= 0:
                inputs[index, variable] = coefficient
            else:
                output[index, -1 - variable] = coefficient
    strict = frozenset(index for index, row in enumerate(rows) if row.strict)
    return Conjunction(output, inputs, np.array([row.bound for row in rows]), strict)
