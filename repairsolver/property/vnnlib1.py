"""VNN-LIB 1.0: declared reals X_i (inputs) and Y_j (outputs), and assertions about them.

    (declare-const X_0 Real)
    (declare-const Y_0 Real)
    (assert (and (>= X_0 -1) (<= X_0 1)))
    (assert (>= Y_0 0.5))

The subset of SMT-LIB that VNN-COMP uses: any order of declarations, nested `and`, `or` and `not`,
linear arithmetic. There is no `let`.

Source: Demarchi et al., Supporting standardization of neural networks verification with VNN-LIB and
CoCoNet (FoMLAS 2023).
"""

from __future__ import annotations

import re

from repairsolver.property.formula import read_formula
from repairsolver.property.linear import Resolve
from repairsolver.property.normal_form import Variables, regions
from repairsolver.property.reader import Atom, Expression, Form, Source, head, show
from repairsolver.property.specification import Property

_VARIABLE = re.compile(r"([XY])_(0|[1-9]\d{0,8})", re.ASCII)
_DECLARATION = "expected `(declare-const X_0 Real)` or `(declare-const Y_0 Real)`"


def read_version1(forms: tuple[Form, ...], source: Source) -> Property:
    """The property of a VNN-LIB 1.0 text.

    Raises:
        PropertyError: with file, line and column: unknown commands, malformed declarations or
            assertions, variables that are undeclared, declared twice or not numbered from 0.
    """
    declared: dict[str, dict[int, int]] = {"X": {}, "Y": {}}
    asserted: list[Expression] = []
    for form in forms:
        command = head(form)
        if command in ("declare-const", "declare-fun"):
            _declare(form, declared, source)
        elif command == "assert":
            if len(form.items) != 2:
                raise source.error(form, f"`assert` takes exactly one formula, got {len(form.items) - 1}")
            asserted.append(form.items[1])
        else:
            raise source.error(form, "expected one of the commands declare-const, declare-fun, assert")
    inputs, outputs = (_count(letter, declared[letter], source) for letter in "XY")
    variables = Variables(inputs, outputs, "X_{}".format)
    formula = read_formula(asserted, source, _resolver(declared, source))
    return Property(regions(formula, source, variables), inputs, outputs, source.text, source.name)


def _declare(form: Form, declared: dict[str, dict[int, int]], source: Source) -> None:
    name, *rest = form.items[1:] if len(form.items) > 1 else [form]
    wanted = ["()", "Real"] if head(form) == "declare-fun" else ["Real"]
    match = _VARIABLE.fullmatch(name.text) if isinstance(name, Atom) else None
    if match is None or [show(item) for item in rest] != wanted:
        raise source.error(form, _DECLARATION)
    numbers, index = declared[match[1]], int(match[2])
    if index in numbers:
        raise source.error(form, f"{match[0]} is declared already at {source.position(numbers[index])}")
    numbers[index] = form.offset


def _count(letter: str, numbers: dict[int, int], source: Source) -> int:
    """How many variables of a kind there are; they must be numbered from 0 without gaps."""
    if not numbers:
        raise source.error(0, f"no variable {letter}_0 is declared: {_DECLARATION}")
    missing = [index for index in range(min(max(numbers), 2 * len(numbers)) + 1) if index not in numbers]
    if missing:
        names = ", ".join(f"{letter}_{index}" for index in missing)
        raise source.error(
            numbers[max(numbers)], f"{letter}_{max(numbers)} is declared, but not {names}: number from 0"
        )
    return len(numbers)


def _resolver(declared: dict[str, dict[int, int]], source: Source) -> Resolve:
    names = {f"X_{index}": index for index in declared["X"]}
    names.update({f"Y_{index}": -1 - index for index in declared["Y"]})

    def resolve(atom: Atom) -> int:
        if atom.text not in names:
            raise source.error(atom, "expected a number or a declared variable")
        return names[atom.text]

    return resolve
