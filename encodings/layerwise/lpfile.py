"""Programs as CPLEX LP files, to look at and to hand to any solver.

Numbers are written so that they read back as the same float64. The format has no ranges that every
solver reads: a row with two finite ends that differ becomes two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from layerwise.program import Matrices, Program

TERMS_PER_LINE = 8


def to_lp(program: Program) -> str:
    """The program in LP format: objective, rows, bounds, integer columns."""
    flat = program.matrices()
    names = [_name(name) for name in program.column_names()]
    parts = [
        ["Minimize", " obj:", *_objective(flat, names)],
        ["Subject To", *_rows(flat, names)],
        ["Bounds", *_bounds(flat, names)],
    ]
    if flat.integer.any():
        parts.append(["General", *(f" {names[j]}" for j in np.flatnonzero(flat.integer))])
    return "\n".join([line for part in parts for line in part] + ["End", ""])


def write_lp(program: Program, path: str | Path) -> None:
    """Write `to_lp(program)` to a file."""
    Path(path).write_text(to_lp(program), encoding="ascii")


def _name(name: str) -> str:
    """A legal name: no operators, not starting like a number (nor like the exponent of one)."""
    legal = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{legal}" if re.match(r"[eE0-9.]", legal) else legal


def _number(value: float) -> str:
    return repr(float(value))


def _term(value: float, name: str) -> str:
    sign = "-" if value < 0 else "+"
    return f"{sign} {_number(abs(value))} {name}"


def _lines(terms: list[str]) -> Iterator[str]:
    for start in range(0, len(terms), TERMS_PER_LINE):
        yield "   " + " ".join(terms[start : start + TERMS_PER_LINE])


def _objective(flat: Matrices, names: list[str]) -> Iterator[str]:
    terms = [_term(flat.cost[j], names[j]) for j in np.flatnonzero(flat.cost)]
    if flat.offset:
        terms.append(f"{'-' if flat.offset < 0 else '+'} {_number(abs(flat.offset))}")
    yield from _lines(terms or ([f"0 {names[0]}"] if names else []))
    squares = [f"{_term(flat.quadratic[j], names[j])} ^ 2" for j in np.flatnonzero(flat.quadratic)]
    if squares:
        yield "   + ["
        yield from _lines(squares)
        yield "   ] / 2"


def _rows(flat: Matrices, names: list[str]) -> Iterator[str]:
    rows = flat.rows
    for i in range(rows.shape[0]):
        entries = slice(rows.indptr[i], rows.indptr[i + 1])
        pairs = zip(rows.data[entries], rows.indices[entries], strict=True)
        body = list(_lines([_term(v, names[j]) for v, j in pairs])) or [f"   0 {names[0]}"]
        for suffix, relation, bound in _ends(flat.row_lower[i], flat.row_upper[i]):
            yield f" r{i}{suffix}:"
            yield from body
            yield f"   {relation} {_number(bound)}"


def _ends(lower: float, upper: float) -> Iterator[tuple[str, str, float]]:
    if lower == upper:
        yield "", "=", lower
        return
    if lower != -np.inf:
        yield "_low", ">=", lower
    if upper != np.inf:
        yield "_up", "<=", upper


def _bounds(flat: Matrices, names: list[str]) -> Iterator[str]:
    for name, lower, upper in zip(names, flat.lower, flat.upper, strict=True):
        if lower == -np.inf and upper == np.inf:
            yield f" {name} free"
        else:
            yield f" {_end(lower)} <= {name} <= {_end(upper)}"


def _end(value: float) -> str:
    return _number(value) if np.isfinite(value) else ("-inf" if value < 0 else "inf")
