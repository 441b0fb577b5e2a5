r"""Regions that contradict each other: where their boxes meet, no output is right for both.

At an input x of both boxes, the output y must break every conjunction of both regions. For conjunctions of
one row these are the strict inequalities

$$ C y + D x > d , $$

and if no y at all satisfies them, no network does, whatever is changed. They are decided exactly, over the
rationals; conjunctions of several rows are left out, so that not every contradiction is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from repairsolver.property.specification import Property, Region, place_name
from repairsolver.repairing.explanation import Core, Demand
from repairsolver.results import Array

Row = tuple[int, int, Array, Fraction]
"""Region and conjunction from 0, C [m], and d - D x, exactly."""


def overlapping_contradiction(prop: Property) -> Core | None:
    """What the first two regions ask of an input that both hold and that no output is right for."""
    known: dict[bytes, bool] = {}
    for i, j in _meeting(prop.regions):
        first, second = prop.regions[i], prop.regions[j]
        point = (np.maximum(first.lower, second.lower) + np.minimum(first.upper, second.upper)) / 2
        rows = [*_rows(i, first, point), *_rows(j, second, point)]
        key = b"".join(row.tobytes() + str(need).encode() for _, _, row, need in rows)
        if key not in known:
            known[key] = _possible(rows)
        if not known[key]:
            return _core(rows, point)
    return None


def _meeting(regions: Sequence[Region]) -> Iterator[tuple[int, int]]:
    """Pairs of regions that share an input and ask for different things."""
    lower, upper = (np.array([getattr(r, end) for r in regions]) for end in ("lower", "upper"))
    asked = [
        b"".join(c.output.tobytes() + c.input.tobytes() + c.bound.tobytes() for c in r.unsafe)
        for r in regions
    ]
    for i in range(1, len(regions)):
        meet = (np.maximum(lower[:i], lower[i]) <= np.minimum(upper[:i], upper[i])).all(axis=1)
        yield from ((int(j), i) for j in np.flatnonzero(meet) if asked[j] != asked[i])


def _rows(number: int, region: Region, point: Array) -> Iterator[Row]:
    for k, conjunction in enumerate(region.unsafe):
        if len(conjunction.bound) == 1:
            moved = sum(
                Fraction(d) * Fraction(x) for d, x in zip(conjunction.input[0], point, strict=True) if d
            )
            yield number, k, conjunction.output[0], Fraction(conjunction.bound[0]) - moved


def _possible(rows: Sequence[Row], *, ties: bool = False) -> bool:
    """Whether some output satisfies all rows strictly; or, with ties, with equality at least."""
    import z3

    solver = z3.Solver()
    outputs = [z3.Real(f"y{k}") for k in range(len(rows[0][2]))] if rows else []

    def exact(value: Fraction) -> z3.RatNumRef:
        return z3.Q(value.numerator, value.denominator)

    for _, _, row, need in rows:
        terms = [exact(Fraction(c)) * y for c, y in zip(row, outputs, strict=True) if c]
        left = z3.Sum(terms) if terms else z3.RealVal(0)
        solver.add(left >= exact(need) if ties else left > exact(need))
    return bool(solver.check() != z3.unsat)


def _core(rows: list[Row], point: Array) -> Core:
    """Rows that cannot all be satisfied, none of them superfluous."""
    for row in list(rows):
        fewer = [other for other in rows if other is not row]
        if not _possible(fewer):
            rows = fewer
    demands = (Demand("property", None, None, None, place_name(i, k), point) for i, k, _, _ in rows)
    return Core(tuple(demands), ties=_possible(rows, ties=True), same=True)
