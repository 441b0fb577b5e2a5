"""What float32 executions of a layer may return: see `layers` for what is said of them.

Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", 2nd edition, section 3.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from repairsolver.certificate.arithmetic import Interval, reach
from repairsolver.certificate.statement import InvalidError
from repairsolver.network import operators as ops
from repairsolver.network.float32 import SPARE, float32_box
from repairsolver.network.graph import Node
from repairsolver.property.specification import Property, Region
from repairsolver.results import Array

if TYPE_CHECKING:
    from repairsolver.certificate.layers import Layer

UNIT32 = 2.0**-24
# In a float32 execution nothing is larger, and no sum has more terms: so no partial sum overflows, and
# 2^22 terms lose at most 2^-126 (|w| + |x| + 3) <= 2^-84 each, twice as much with roundings, to underflows.
LARGEST32, TERMS32, TINY32 = 2.0**40, 2**22, 2.0**-60
# What a runtime's sigmoid and tanh are taken to err in float32, absolute: 16 roundings of 1.
ELEMENTARY32 = 2.0**-20


def widened(prop: Property) -> Property:
    """The property on every input that a float32 execution may get for a point of its boxes."""
    ends = [float32_box(region.lower, region.upper) for region in prop.regions]
    regions = (Region(*box, region.unsafe) for box, region in zip(ends, prop.regions, strict=True))
    return replace(prop, regions=tuple(regions))


def gamma32(terms: Array) -> Array:
    """At least gamma of sums of so many terms in float32; at most 2^22 of them."""
    return np.asarray(terms * UNIT32 / (1 - terms * UNIT32) * (1 + 2.0**-40))


def executed(layer: Layer, node: Node) -> Layer:
    """The layer with the roundings of a float32 execution.

    Raises:
        InvalidError: its numbers are so large, or its sums so long, that an execution might overflow.
    """
    terms, absolute = np.zeros(1), TINY32
    numbers: list[Array] = []
    relative: Array | float = 0.0
    match node.operator:
        case ops.LeakyRelu(slope):
            numbers, relative = [slope], UNIT32 * (1 + 2.0**-20)
        case ops.Sigmoid() | ops.Tanh():
            absolute = ELEMENTARY32
        case ops.Select() | ops.Concat():
            pass
        case _ if isinstance(node.operator, ops.Linear):
            parts = [sparse.csr_array(matrix) for matrix in layer.matrices]
            numbers = [*(part.data for part in parts), layer.constant]
            terms = np.sum([np.diff(part.indptr) for part in parts], axis=0) + SPARE
            relative = gamma32(np.minimum(terms, TERMS32))
    if not (all(np.abs(x).max(initial=0) <= LARGEST32 for x in numbers) and terms.max() <= TERMS32):
        raise InvalidError(
            f"{node.layer}: it has numbers above 2^40 or sums of over 2^22 terms, so that a float32 "
            "execution might overflow: only 'real' arithmetic can be checked."
        )
    return replace(layer, relative=relative, absolute=absolute)


def require_small(layer: Layer, bounds: list[Interval]) -> None:
    """Raises InvalidError if what an execution of a layer gets or returns may be larger than is covered."""
    if layer.absolute and not all((reach(sides) <= LARGEST32).all() for sides in bounds):
        raise InvalidError(
            "A float32 execution might overflow: not all numbers are known to stay below 2^40. Only 'real' "
            "arithmetic can be checked."
        )
