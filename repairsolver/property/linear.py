"""Linear arithmetic of VNN-LIB: expressions in exact rationals, comparisons as half-spaces.

Every number in the text is read as the float64 nearest to it, as verifiers of VNN-COMP do. From there
on the arithmetic is exact (`Fraction`); results are rounded once, to float64: the bound of a single
input outward (the box may only grow), a right-hand side upward (the unsafe set may only grow), a
coefficient to nearest. A comparison of variables with numbers needs no rounding at all.

Strict comparisons keep a mark. Solvers and bounds know closed sets only, so they treat the unsafe set's
closure: a proof that it is never reached proves the strict property too. A counterexample is asked to
violate strictly when it is replayed. Bounds of single inputs are the exception: boxes are closed, so that
their ends belong to the region even where the text excludes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from repairsolver.property.reader import Atom, Expression, Form, Source, head, show

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
ARITHMETIC = ("+", "-", "*", "/")
COMPARISONS = ("<=", ">=", "<", ">", "=", "==")

Resolve = Callable[[Atom], int]
"""Number of the variable that an atom names: input i is i, output j is -1 - j; raises where unknown."""


@dataclass(frozen=True, slots=True)
class HalfSpace:
    """sum of coefficient times variable <= bound, or < bound; no terms: a constant, true or false.

    Args:
        terms: (variable, coefficient) with input i numbered i and output j numbered -1 - j. The term
            of a single input has coefficient 1 or -1.
        bound: right-hand side.
        offset: where in the text it was read, for messages.
        strict: < instead of <=.
    """

    terms: tuple[tuple[int, float], ...]
    bound: float
    offset: int = 0
    strict: bool = False

    @property
    def is_constant(self) -> bool:
        return not self.terms

    @property
    def is_never(self) -> bool:
        """Whether it is a constant that is false."""
        return self.is_constant and (self.bound < 0 or (self.strict and self.bound == 0))

    @property
    def is_input_bound(self) -> bool:
        return len(self.terms) == 1 and self.terms[0][0] >= 0


@dataclass(slots=True)
class _Affine:
    """sum of coefficient times variable, plus a constant; owned by whoever folds it."""

    terms: dict[int, Fraction]
    constant: Fraction

    def add(self, other: _Affine, sign: int = 1) -> None:
        for variable, coefficient in other.terms.items():
            self.terms[variable] = self.terms.get(variable, Fraction(0)) + sign * coefficient
        self.constant += sign * other.constant

    def scale(self, factor: Fraction) -> None:
        self.terms = {variable: factor * value for variable, value in self.terms.items()}
        self.constant *= factor


def comparison(form: Form, source: Source, resolve: Resolve, positive: bool = True) -> list[HalfSpace]:
    """The half-spaces that must all hold for a comparison, or for its negation.

    Args:
        form: `(<= a b)` and the like, exactly two operands.
        positive: False for the negation.

    Raises:
        PropertyError: a wrong number of operands, unknown names, arithmetic that is not linear, and
            the negation of an equality, which is not a closed set.
    """
    operator = head(form)
    if len(form.items) != 3:
        raise source.error(form, f"`{operator}` takes exactly two operands, got {len(form.items) - 1}")
    _, left, right = form.items
    if operator in ("=", "=="):
        if not positive:
            raise source.error(form, "the negation of an equality is not a closed set: use <= or >=")
        return [
            _less(left, right, form.offset, source, resolve),
            _less(right, left, form.offset, source, resolve),
        ]
    if (operator in ("<=", "<")) != positive:
        left, right = right, left
    row = _less(left, right, form.offset, source, resolve)
    return [replace(row, strict=(operator in ("<", ">")) == positive)]


def _less(left: Expression, right: Expression, offset: int, source: Source, resolve: Resolve) -> HalfSpace:
    """left <= right; the common forms `variable <= number` without any rational arithmetic."""
    if isinstance(left, Atom) and isinstance(right, Atom):
        low, high = _leaf(left, source, resolve), _leaf(right, source, resolve)
        if isinstance(low, int) and isinstance(high, float):
            return HalfSpace(((low, 1.0),), high, offset)
        if isinstance(low, float) and isinstance(high, int):
            return HalfSpace(((high, -1.0),), -low, offset)
    difference = _affine(left, source, resolve)
    difference.add(_affine(right, source, resolve), -1)
    return _half_space(difference, source, offset)


def _half_space(affine: _Affine, source: Source, offset: int) -> HalfSpace:
    """affine <= 0 in float64; see the module's docstring for how it is rounded."""
    terms = {variable: value for variable, value in sorted(affine.terms.items()) if value}
    bound = -affine.constant
    try:
        if len(terms) == 1 and min(terms) >= 0:
            (variable, value) = next(iter(terms.items()))
            sign = 1.0 if value > 0 else -1.0
            return HalfSpace(((variable, sign),), round_up(bound / abs(value)), offset)
        return HalfSpace(tuple((v, float(c)) for v, c in terms.items()), round_up(bound), offset)
    except OverflowError:
        raise source.error(offset, "a coefficient or bound of this comparison exceeds float64") from None


def round_up(value: Fraction) -> float:
    """The smallest float64 that is not below an exact rational.

    Raises:
        OverflowError: it is too large for float64.
    """
    nearest = float(value)
    rounded = nearest if nearest >= value else math.nextafter(nearest, math.inf)
    if math.isinf(rounded):
        raise OverflowError("above the largest float64")
    return rounded


def _leaf(atom: Atom, source: Source, resolve: Resolve) -> float | int:
    """A number as float, a variable as its number."""
    if NUMBER.fullmatch(atom.text) is None:
        return resolve(atom)
    value = float(atom.text)
    if math.isinf(value):
        raise source.error(atom, "this number exceeds float64")
    return value


def _affine(expression: Expression, source: Source, resolve: Resolve) -> _Affine:
    """An arithmetic expression as an affine function, by a stack of open forms."""
    values: list[_Affine] = []
    for item in _post_order(expression):
        if isinstance(item, Form):
            count = len(item.items) - 1
            operands = values[len(values) - count :]
            del values[len(values) - count :]
            values.append(_apply(item, operands, source))
            continue
        leaf = _leaf(item, source, resolve)
        if isinstance(leaf, int):
            values.append(_Affine({leaf: Fraction(1)}, Fraction(0)))
        else:
            values.append(_Affine({}, Fraction(leaf)))
    return values[0]


def _post_order(expression: Expression) -> Iterator[Expression]:
    """Operands before their form; the operator itself (first item) is left out."""
    stack: list[tuple[Expression, bool]] = [(expression, False)]
    while stack:
        item, done = stack.pop()
        if done or isinstance(item, Atom):
            yield item
        else:
            stack.append((item, True))
            stack.extend((operand, False) for operand in reversed(item.items[1:]))


def _apply(form: Form, operands: list[_Affine], source: Source) -> _Affine:
    operator = head(form)
    if operator not in ARITHMETIC or not operands:
        raise source.error(form, f"expected a number, a variable or arithmetic with {', '.join(ARITHMETIC)}")
    if operator == "*":
        return _product(form, operands, source)
    if operator == "/":
        return _quotient(form, operands, source)
    if operator == "-" and len(operands) == 1:
        operands[0].scale(Fraction(-1))
        return operands[0]
    return _sum(operands, 1 if operator == "+" else -1)


def _sum(operands: list[_Affine], sign: int) -> _Affine:
    """first + sign * (each of the others), gathered in the largest operand: deep chains stay linear."""
    largest = max(range(len(operands)), key=lambda index: len(operands[index].terms))
    total = operands[largest]
    flipped = largest > 0 and sign < 0
    for index, operand in enumerate(operands):
        if index != largest:
            wanted = 1 if index == 0 else sign
            total.add(operand, -wanted if flipped else wanted)
    if flipped:
        total.scale(Fraction(-1))
    return total


def _product(form: Form, operands: list[_Affine], source: Source) -> _Affine:
    variable = [operand for operand in operands if any(operand.terms.values())]
    if len(variable) > 1:
        raise source.error(
            form, "a product of variables is not linear: expected numbers and one variable part"
        )
    result = variable[0] if variable else _Affine({}, Fraction(1))
    for operand in operands:
        if operand is not result:
            result.scale(operand.constant)
    return result


def _quotient(form: Form, operands: list[_Affine], source: Source) -> _Affine:
    if len(operands) < 2:
        raise source.error(form, "`/` takes at least two operands")
    result = operands[0]
    for index, operand in enumerate(operands[1:], start=2):
        if any(operand.terms.values()):
            raise source.error(form, "division by a variable is not linear: expected a number")
        if not operand.constant:
            raise source.error(form, f"division by zero: {show(form.items[index])}")
        result.scale(1 / operand.constant)
    return result
