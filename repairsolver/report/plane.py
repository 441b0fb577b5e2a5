"""Which slice of the input space is worth showing: through a counterexample, along the inputs that matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from repairsolver.metrics import evaluate
from repairsolver.network.graph import Network
from repairsolver.network.operators import Conv, Dense
from repairsolver.property.specification import Property, Region
from repairsolver.report.slice import Axis, Slice
from repairsolver.results import Array

AROUND = 0.25
"""How much is drawn around the box, as a share of its width on each side."""

MOST_INPUTS, STEPS = 256, 9
"""Inputs that are tried, the widest first; and points along each."""

WORK, COARSEST, FINEST = 2e8, 60, 300
"""What one picture of one network may cost, see `cost`; least and greatest resolution."""

PER_ENTRY = 20
"""Multiplications of a matrix product that take as long as one entry of a tensor elsewhere."""


def chosen_plane(network: Network, prop: Property, point: Array | None) -> Slice | None:
    """The plane through a point of the property along the two inputs that move the outputs most.

    The influence of an input is how much it moves an output at most, from the point through its interval.

    Args:
        point: a counterexample, or None for the middle of the first region.

    Returns:
        None where fewer than two inputs are free.
    """
    if not prop.regions:
        return None
    region = region_of(prop, point)
    base = (region.lower + region.upper) / 2 if point is None else np.asarray(point, dtype=np.float64)
    axes = _influential(network, region, base)
    if len(axes) < 2:
        return None
    first, second = (int(index) for index in sorted(axes[:2]))
    return plane_of(network, prop, point, (first, second))


def plane_of(network: Network, prop: Property, point: Array | None, inputs: tuple[int, int]) -> Slice:
    """The plane of two inputs through a point, or through the middle of the first region.

    An input that the region fixes is drawn a little around its value.
    """
    region = region_of(prop, point)
    base = (region.lower + region.upper) / 2 if point is None else np.asarray(point, dtype=np.float64)
    x, y = (_axis(index, region) for index in inputs)
    return Slice(base, x, y, resolution(network))


def region_of(prop: Property, point: Array | None) -> Region:
    """The first region that contains a point, or the first."""
    inside = [r for r in prop.regions if point is not None and r.contains(np.asarray(point)[None])[0]]
    return (inside or list(prop.regions))[0]


def resolution(network: Network) -> int:
    """Points along each axis that keep a picture within its share of work."""
    return int(np.clip(np.sqrt(WORK / cost(network)), COARSEST, FINEST))


def cost(network: Network) -> float:
    """What one forward pass costs, counted in entries of tensors; 10^8 take about a second."""
    products = 0
    for node in network.affine_layers:
        match node.operator:
            case Dense() as dense:
                products += dense.weight.size
            case Conv() as conv:
                products += node.size * conv.weight.size // len(conv.weight)
    return 1 + sum(node.size for node in network.nodes) + products / PER_ENTRY


def _influential(network: Network, region: Region, base: Array) -> NDArray[np.intp]:
    """Free inputs, the most influential first."""
    width = region.upper - region.lower
    free = np.argsort(-width, kind="stable")[:MOST_INPUTS]
    free = free[width[free] > 0]
    if len(free) < 2:
        return free
    points = np.repeat(base[None], len(free) * STEPS, axis=0)
    for row, index in enumerate(free):
        line = np.linspace(region.lower[index], region.upper[index], STEPS)
        points[row * STEPS : (row + 1) * STEPS, index] = line
    outputs = evaluate(network, points).reshape(len(free), STEPS, -1)
    influence = np.ptp(outputs, axis=1).max(axis=1)
    return np.asarray(free[np.argsort(-influence, kind="stable")])


def _axis(index: int, region: Region) -> Axis:
    low, high = float(region.lower[index]), float(region.upper[index])
    spare = AROUND * ((high - low) or 1.0)
    return Axis(index, low - spare, high + spare, f"input {index}")
