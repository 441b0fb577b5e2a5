"""Which decision a repair's fidelity compares, said where the property is about the other one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing.result import Repair
from repairsolver.results import Array

OTHER = (
    "Fidelity compares the largest outputs, but the property says which output is, or is not, the smallest. "
    'If the smallest one is the decision: decision="min" (--decision min).'
)


def with_decision(fix: Repair, prop: Property) -> Repair:
    """The repair with a remark, if its fidelity is about largest outputs, and the property about smallest."""
    kept = fix.fidelity
    if kept is None or kept.agreement is None or kept.decision != "max" or not about_smallest(prop):
        return fix
    return replace(fix, remarks=(*fix.remarks, OTHER))


def about_smallest(prop: Property) -> bool:
    r"""Whether every region asks for an output to be the smallest, or not to be.

    With two or more rows Y_i <= Y_j of one i in a conjunction, Y_i may not be the smallest; with two or more
    conjunctions Y_j <= Y_i, of one row each and one i, it must be. With two outputs nothing can be told.
    """
    regions = [region for region in prop.regions if region.unsafe]
    return bool(regions) and all(_about_smallest(region) for region in regions)


def _about_smallest(region: Region) -> bool:
    if len(region.unsafe) > 1 and all(len(c.bound) == 1 for c in region.unsafe):
        rows = np.concatenate([c.output for c in region.unsafe])
        return all(map(_compares, region.unsafe)) and _share_one(-rows)
    return all(_compares(c) and _share_one(c.output) for c in region.unsafe)


def _compares(conjunction: Conjunction) -> bool:
    """Whether all rows are Y_i <= Y_j, and nothing else, up to a factor."""
    signs = np.sign(conjunction.output)
    paired = ((signs == 1).sum(axis=1) == 1) & ((signs == -1).sum(axis=1) == 1)
    rest = conjunction.input.any() or conjunction.bound.any() or conjunction.output.sum(axis=1).any()
    return bool(paired.all()) and not rest


def _share_one(rows: Array) -> bool:
    """Whether one output has a positive entry in all of several rows, whose negative ones differ."""
    others = {int(row.argmin()) for row in rows}
    return len(others) > 1 and len({int(row.argmax()) for row in rows}) == 1
