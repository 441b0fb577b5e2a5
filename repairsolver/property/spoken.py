"""Which output a property takes for the decision: the smallest or the largest, as far as it tells."""

from __future__ import annotations

import numpy as np

from repairsolver.decision import Side
from repairsolver.property.specification import Conjunction, Property, Region


def spoken_of(prop: Property) -> Side | None:
    r"""The decision that a property speaks plainly of; None where it does not, or where regions differ.

    A region forbids outputs S to be the smallest where every conjunction has rows \(Y_i \le Y_j\) of one
    \(i \in S\), with every j outside of S among them. Who speaks of smallest outputs means costs, of which
    the smallest is chosen. Forbidding outputs to be the *largest* tells nothing, unless a single one is left
    that must be it: a classifier's label. "Not the largest" is said of costs, too: property 2 of ACAS Xu,
    whose smallest output is the advisory, is that clear of conflict is not the worst choice.

    Source: Katz et al., Reluplex, CAV 2017, appendix VI (the properties of ACAS Xu).
    """
    found = {side for region in prop.regions if region.unsafe and (side := _spoken(region)) is not None}
    return found.pop() if len(found) == 1 else None


def _spoken(region: Region) -> Side | None:
    size = region.unsafe[0].output.shape[1]
    smallest, largest = (_allowed(region, sign) for sign in (1.0, -1.0))
    if size < 3:  # of two outputs one is the smallest if the other one is the largest
        return None
    if smallest:
        return "min"
    return "max" if len(largest) == 1 else None


def _allowed(region: Region, sign: float) -> frozenset[int]:
    """The outputs that may be the smallest (sign 1) or largest (-1), where the region forbids all others."""
    pairs = [_compared(conjunction, sign) for conjunction in region.unsafe]
    if any(pair is None for pair in pairs):
        return frozenset()
    found = [pair for pair in pairs if pair is not None]
    allowed = frozenset(range(region.unsafe[0].output.shape[1])) - {one for one, _ in found}
    return allowed if all(allowed <= others for _, others in found) else frozenset()


def _compared(conjunction: Conjunction, sign: float) -> tuple[int, frozenset[int]] | None:
    """i and every j, where all rows are Y_i <= Y_j (sign -1: Y_i >= Y_j) up to a factor, with one i."""
    rows = sign * conjunction.output
    paired = ((np.sign(rows) == 1).sum(axis=1) == 1) & ((np.sign(rows) == -1).sum(axis=1) == 1)
    rest = conjunction.input.any() or conjunction.bound.any() or rows.sum(axis=1).any()
    if not len(rows) or rest or not paired.all():
        return None
    ones = {int(row.argmax()) for row in rows}
    return (ones.pop(), frozenset(int(row.argmin()) for row in rows)) if len(ones) == 1 else None
