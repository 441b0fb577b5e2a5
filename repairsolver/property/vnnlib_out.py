"""Writing properties as VNN-LIB 1.0."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repairsolver.errors import PropertyError
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.signatures import typed
from repairsolver.targets import file_target, replacing


@typed
def save_property(prop: Property, path: str | Path) -> None:
    """Write a property to a file: its own text where it has one, else `write_property`.

    The text is what certificates hash, so that a saved property is the one that was proved. The file
    appears whole or not at all.

    Raises:
        PropertyError: the folder cannot be written, or the path ends in `.gz` (plain text only).
    """
    target = Path(path)
    if target.suffix == ".gz":
        raise PropertyError(f"{target}: properties are saved as plain text; leave out .gz")
    try:
        target = file_target(path)
    except OSError as error:
        raise PropertyError(f"cannot save the property: {error}") from error
    text = prop.text or write_property(prop)
    try:
        with replacing(target) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise PropertyError(f"{target}: cannot save the property: {error}") from error


def write_property(prop: Property) -> str:
    """A property as VNN-LIB 1.0 text that reads back as the same property.

    Numbers are written with as many digits as it takes to read the same float64. Reading back gives
    the same violation for every input and output, up to what does not change the unsafe set:
    regions with equal boxes become one, a row about a single input becomes a bound of the box,
    rows that always hold and conjunctions that never hold disappear.
    """
    lines = [f"; {' '.join(prop.name.split())}", "; the property is violated where these assertions hold", ""]
    lines += [f"(declare-const X_{index} Real)" for index in range(prop.input_size)]
    lines += [f"(declare-const Y_{index} Real)" for index in range(prop.output_size)]
    possible = [(region, _possible(region)) for region in prop.regions]
    live = [(region, unsafe) for region, unsafe in possible if unsafe]
    if not live:
        lines.append("; nothing violates this property")
        lines.append("(assert (or (and (>= X_0 1.0) (<= X_0 0.0))))")
    elif len(live) == 1:
        region, unsafe = live[0]
        lines += [f"(assert {part})" for part in (*_box(region), *_unsafe(unsafe))]
    else:
        lines.append("(assert (or")
        lines += [f"  (and {' '.join((*_box(region), *_unsafe(unsafe)))})" for region, unsafe in live]
        lines.append("))")
    return "\n".join(lines) + "\n"


def _possible(region: Region) -> list[list[str]]:
    """The written rows of each conjunction, without those that never hold."""
    written = [_rows(conjunction) for conjunction in region.unsafe]
    if any(rows == [] for rows in written):
        return [[]]
    return [rows for rows in written if rows is not None]


def _rows(conjunction: Conjunction) -> list[str] | None:
    """The rows of a conjunction but for trivial ones; None where one of them never holds."""
    rows = []
    numbers = zip(conjunction.output, conjunction.input, conjunction.bound, strict=True)
    for row, (output, inputs, bound) in enumerate(numbers):
        strict = row in conjunction.strict
        terms = [(float(inputs[i]), f"X_{i}") for i in np.flatnonzero(inputs)]
        terms += [(float(output[j]), f"Y_{j}") for j in np.flatnonzero(output)]
        if terms:
            rows.append(_row(terms, float(bound), strict))
        elif bound < 0 or (strict and bound == 0):
            return None
    return rows


def _row(terms: list[tuple[float, str]], bound: float, strict: bool) -> str:
    less, more = ("<", ">") if strict else ("<=", ">=")
    if len(terms) == 1 and abs(terms[0][0]) == 1.0:
        (sign, name), relation = terms[0], less if terms[0][0] > 0 else more
        return f"({relation} {name} {sign * bound + 0.0!r})"
    if bound == 0.0 and sorted(coefficient for coefficient, _ in terms) == [-1.0, 1.0]:
        (_, larger), (_, smaller) = sorted(terms)
        return f"({less} {smaller} {larger})"
    written = [name if factor == 1.0 else f"(* {factor!r} {name})" for factor, name in terms]
    left = written[0] if len(written) == 1 else f"(+ {' '.join(written)})"
    return f"({less} {left} {bound!r})"


def _box(region: Region) -> list[str]:
    return [
        f"({relation} X_{index} {value!r})"
        for index, bounds in enumerate(zip(region.lower.tolist(), region.upper.tolist(), strict=True))
        for relation, value in zip((">=", "<="), bounds, strict=True)
    ]


def _unsafe(conjunctions: list[list[str]]) -> list[str]:
    """The formulas that must all hold for one of the conjunctions to hold."""
    if len(conjunctions) == 1:
        return conjunctions[0]
    joined = [f"(and {' '.join(rows)})" for rows in conjunctions]
    return [f"(or {' '.join(joined)})"]
