"""Boolean formulas over half-spaces in negation normal form, read from s-expressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repairsolver.property.linear import COMPARISONS, HalfSpace, Resolve, comparison
from repairsolver.property.reader import Expression, Form, Source, head

CONNECTIVES = ("and", "or", "not")


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A conjunction or disjunction of half-spaces and formulas of the other kind.

    Args:
        kind: `and` (true when empty) or `or` (false when empty).
        literals: half-spaces directly below, in the order of the text.
        parts: sub-formulas directly below.
    """

    kind: Literal["and", "or"]
    literals: list[HalfSpace]
    parts: list[Formula]


def read_formula(asserted: list[Expression], source: Source, resolve: Resolve) -> Formula:
    """The conjunction of the asserted expressions, negations pushed down to the comparisons.

    Nested connectives of the same kind are flattened, so that chains of any depth stay cheap.

    Raises:
        PropertyError: an operator that VNN-LIB does not have, a connective without operands, or
            whatever `linear.comparison` refuses.
    """
    top = Formula("and", [], [])
    stack: list[tuple[Expression, bool, Formula]] = [(item, True, top) for item in reversed(asserted)]
    while stack:
        item, positive, parent = stack.pop()
        operator = head(item) if isinstance(item, Form) else ""
        if not isinstance(item, Form) or operator not in (*CONNECTIVES, *COMPARISONS):
            raise source.error(item, _expectation(operator))
        if operator in COMPARISONS:
            _place(comparison(item, source, resolve, positive), parent)
        elif operator == "not":
            if len(item.items) != 2:
                raise source.error(item, f"`not` takes exactly one operand, got {len(item.items) - 1}")
            stack.append((item.items[1], not positive, parent))
        else:
            if len(item.items) < 2:
                raise source.error(item, f"`{operator}` needs at least one operand")
            target = _below(parent, "and" if (operator == "and") == positive else "or")
            stack.extend((operand, positive, target) for operand in reversed(item.items[1:]))
    return top


def _expectation(operator: str) -> str:
    if operator == "!=":
        return "`!=` does not describe a closed set: expected <=, >= or an `or` of the two with a margin"
    return f"expected one of {', '.join((*CONNECTIVES, *COMPARISONS))}"


def _place(rows: list[HalfSpace], parent: Formula) -> None:
    """Add the rows, which must all hold, below a formula."""
    if len(rows) == 1 or parent.kind == "and":
        parent.literals.extend(rows)
    else:
        parent.parts.append(Formula("and", rows, []))


def _below(parent: Formula, kind: Literal["and", "or"]) -> Formula:
    """The formula that operands of a connective of this kind under the parent go to."""
    if parent.kind == kind:
        return parent
    child = Formula(kind, [], [])
    parent.parts.append(child)
    return child
