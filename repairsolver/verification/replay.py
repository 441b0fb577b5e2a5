"""From a suspicious point to a counterexample: cast, clip into the box, run the file, measure."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from repairsolver.network import replay
from repairsolver.network.graph import Network
from repairsolver.property.specification import Region
from repairsolver.results import Array, Counterexample


def into_box(points: Array, region: Region, element: np.dtype[np.float32] | np.dtype[np.float64]) -> Array:
    """The nearest points of the network's element type inside a box, [b, n], as float64.

    An input whose interval holds no value of the type (a pixel fixed at a decimal number) takes the
    value nearest to the interval's middle: the file cannot be given any other.
    """
    low, high = element_box(region.lower, region.upper, element)
    return np.asarray(np.clip(points.astype(element), low, high), dtype=np.float64)


def element_box(
    lower: Array, upper: Array, element: np.dtype[np.float32] | np.dtype[np.float64]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The ends of boxes of any shape as numbers of an element type, as `into_box` has them."""
    limits = np.finfo(element)
    low, high = lower.astype(element), upper.astype(element)
    inward = np.nextafter(low, limits.max, dtype=element), np.nextafter(high, limits.min, dtype=element)
    low = np.where(low.astype(np.float64) < lower, inward[0], low)
    high = np.where(high.astype(np.float64) > upper, inward[1], high)
    nearest = ((lower + upper) / 2).astype(element)
    empty = np.greater(low, high)
    return np.where(empty, nearest, low), np.where(empty, nearest, high)


def belongs(
    points: Array, region: Region, element: np.dtype[np.float32] | np.dtype[np.float64]
) -> NDArray[np.bool_]:
    """Which points [b, n] a network can be given in a box, as `into_box` has it: [b]."""
    return np.asarray((into_box(points, region, element) == points).all(axis=1))


def replayed(network: Network, points: Iterable[tuple[Region, Array]]) -> list[Counterexample]:
    """The points [b, n] of each region that violate the property on onnxruntime, worst first.

    A point counts only if, cast to the network's element type and clipped into the box, the output that
    onnxruntime computes from the saved file violates with no tolerance. Inputs that have no value of
    the type inside their interval are allowed at the nearest one.
    """
    found = []
    for region, block in points:
        if not len(block):
            continue
        inputs = np.unique(into_box(block, region, network.element), axis=0)
        outputs = replay(network, inputs)
        measured = _violation_in(region, inputs, outputs)
        found += [
            Counterexample(x, y, float(v))
            for x, y, v in zip(inputs, outputs, measured, strict=True)
            if v >= 0
        ]
    return sorted(found, key=lambda c: -c.violation)


def _violation_in(region: Region, inputs: Array, outputs: Array) -> Array:
    worst = np.full(len(inputs), -np.inf)
    for conjunction in region.unsafe:
        worst = np.maximum(worst, conjunction.violation(inputs, outputs))
    return worst
