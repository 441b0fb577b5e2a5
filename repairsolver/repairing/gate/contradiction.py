"""Why no scores are safe in a region: half-spaces that contradict each other, none of them needlessly.

Whether scores break half-spaces, strictly, is decided exactly, over the rationals.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import islice, product
from math import prod

import numpy as np

from repairsolver.network.gated.changes import linear_text
from repairsolver.property.specification import Region, place_name
from repairsolver.repairing.gate.shield import MOST_CHOICES, Picked, pick
from repairsolver.results import counted

SHOWN = 3
"""Contradictions that are named."""


def contradictions(region: Region) -> list[Picked]:
    """For every choice of rows (one of each conjunction, of those that are tried) that no scores meet: an
    irreducible set of them, so that any of its rows may be broken without the others."""
    found = []
    for rows in islice(product(*(range(len(c.bound)) for c in region.unsafe)), MOST_CHOICES):
        picked = pick(region.unsafe, rows)
        # Rows that read inputs are left out: they may be met somewhere.
        kept = np.flatnonzero(~picked.input.any(axis=1)).tolist()
        if _possible(picked, kept):
            continue
        for row in list(kept):
            rest = [other for other in kept if other != row]
            if not _possible(picked, rest):
                kept = rest
        found.append(picked.only(kept))
    return found


def _possible(picked: Picked, rows: list[int]) -> bool:
    """Whether scores y have C y > d in some rows."""
    if not rows:
        return True
    import z3

    solver = z3.Solver()
    y = [z3.Real(f"y{k}") for k in range(picked.output.shape[1])]

    def exact(value: float) -> z3.RatNumRef:
        ratio = Fraction(value)
        return z3.Q(ratio.numerator, ratio.denominator)

    for row in rows:
        terms = [exact(c) * score for c, score in zip(picked.output[row], y, strict=True) if c]
        solver.add((z3.Sum(terms) if terms else z3.RealVal(0)) > exact(picked.bound[row]))
    return bool(solver.check() != z3.unsat)


def explained(region: Region, number: int) -> str:
    """Why no correction is found in a region: no scores are safe, or half-spaces move each other.

    Args:
        number: of the region in its property, from 0.
    """
    choices = prod(len(c.bound) for c in region.unsafe)
    found = contradictions(region)
    if len(found) < choices:
        return f"in {place_name(number)} every choice of half-spaces moves one of them against another"
    texts = list(dict.fromkeys(_named(picked) for picked in found))
    more = f"; and {counted(len(texts) - SHOWN, 'more contradiction')}" if len(texts) > SHOWN else ""
    return f"in {place_name(number)} no scores are safe: {'; '.join(texts[:SHOWN])}{more}"


def _named(picked: Picked) -> str:
    """`Y_0 > 1 (of conjunction 1) and -Y_0 > 0 (of conjunction 2) contradict each other`."""
    rows = [
        f"{linear_text(output, 'Y') or '0'} > {bound:.6g} (of conjunction {owner + 1})"
        for output, bound, owner in zip(picked.output, picked.bound, picked.owner, strict=True)
    ]
    what = "contradict each other" if len(rows) > 1 else "is never true"
    return f"{' and '.join(rows)} {what}"
