"""Integer arithmetic that reads the same on integers, ranges and z3 terms; z3 is loaded for terms alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from layerwise.shapes.ranges import Possible, Range, choose_range, divides_range, join_possible

Term: TypeAlias = Any
"""An `int`, a `Range` or a `z3.ArithRef`."""

Truth: TypeAlias = Any
"""A `bool`, a `Possible` or a `z3.BoolRef`."""

Shape: TypeAlias = tuple[Term, ...]
"""Axis sizes without the batch axis; the rank is always a plain number."""


def choose(condition: Truth, yes: Term, no: Term) -> Term:
    """`yes` where the condition holds, else `no`."""
    if isinstance(condition, bool):
        return yes if condition else no
    if isinstance(condition, Possible):
        return choose_range(condition, yes, no)
    import z3

    return z3.If(condition, yes, no)


def every(conditions: Iterable[Truth]) -> Truth:
    """The conjunction."""
    return _joined(conditions, True)


def some(conditions: Iterable[Truth]) -> Truth:
    """The disjunction."""
    return _joined(conditions, False)


def floor_div(numerator: Term, denominator: Term) -> Term:
    """floor(numerator / denominator) for a positive denominator, as Python and z3 both define it."""
    if isinstance(numerator, int) and isinstance(denominator, int):
        return numerator // denominator if denominator else 0
    return numerator / denominator


def ceil_div(numerator: Term, denominator: Term) -> Term:
    """ceil(numerator / denominator) for a positive denominator."""
    return floor_div(numerator + denominator - 1, denominator)


def divides(divisor: Term, number: Term) -> Truth:
    """Whether a positive divisor divides the number."""
    if isinstance(divisor, int) and isinstance(number, int):
        return divisor > 0 and number % divisor == 0
    if isinstance(divisor, Range) or isinstance(number, Range):
        return divides_range(divisor, number)
    return every([divisor > 0, number % divisor == 0])


def larger(a: Term, b: Term) -> Term:
    """max(a, b)."""
    return choose(a >= b, a, b)


def product(shape: Iterable[Term]) -> Term:
    """Number of elements of a shape; 1 for no axes."""
    total: Term = 1
    for size in shape:
        total = total * size
    return total


def same_shape(a: Shape, b: Shape) -> Truth:
    """Equality of shapes; of different ranks it is False."""
    return len(a) == len(b) and every(x == y for x, y in zip(a, b, strict=True))


def _joined(conditions: Iterable[Truth], conjunction: bool) -> Truth:
    left = []
    for condition in conditions:
        if isinstance(condition, bool):
            if condition is not conjunction:
                return not conjunction
        else:
            left.append(condition)
    if not left:
        return conjunction
    if isinstance(left[0], Possible):
        return join_possible(left, conjunction)
    import z3

    return z3.And(*left) if conjunction else z3.Or(*left)
