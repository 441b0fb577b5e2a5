"""Worst points of a region by random mutation: cheap, without gradients, from many starts at once.

Counterexamples near the worst one are worth more to a repair than any violation is: a candidate that is
least for mild violations is violated again at the worst ones. Gradient signs lead astray where a network is
spiky; families of points, each replaced by the best of its mutants while the mutations shrink, do not.

Source: (1, lambda) evolution strategies with decreasing step size, Beyer and Schwefel, Evolution
strategies: a comprehensive introduction, Natural Computing 1, 2002, section 3.
"""

from __future__ import annotations

import time

import numpy as np

from repairsolver.network.graph import Network
from repairsolver.property.specification import Property, Region
from repairsolver.results import Array
from repairsolver.verification.replay import into_box

SAMPLES = 20_000
"""Uniform samples of a region."""

FAMILIES = 200
"""Points that are followed."""

MUTANTS = 10
"""Of every point in every generation; each changes about half of the inputs."""

GENERATIONS = 25
FIRST_STEP = 0.2
"""Standard deviation of the first mutations, as a share of the box's width."""

BATCH = 2048
"""Points evaluated at once."""

SHRINKING = 0.85
"""By how much mutations shrink from generation to generation."""


def pursue(
    network: Network, prop: Property, starts: Array, *, least: float, seed: int, seconds: float
) -> Array:
    """Inputs that violate a property by at least `least` (which may be negative), worst first.

    Args:
        starts: inputs [b, n] to start from besides uniform samples, such as earlier counterexamples.
        seconds: no new generation begins after this time.

    Returns:
        [k, n], values of the network's element type inside the regions.
    """
    rng = np.random.default_rng(seed)
    end = time.perf_counter() + seconds
    found = [np.zeros((0, prop.input_size))]
    for region in prop.regions:
        known = starts[region.contains(starts)]
        found.append(into_box(_worst(network, region, known, rng, end), region, network.element))
    points = np.unique(np.concatenate(found), axis=0)
    values = prop.violation(points, network(points)) if len(points) else np.zeros(0)
    order = np.argsort(-values, kind="stable")
    return points[order[values[order] >= least]]


def _worst(network: Network, region: Region, known: Array, rng: np.random.Generator, end: float) -> Array:
    """The families of one region after all generations, [f, n]."""
    width = region.upper - region.lower
    points = rng.uniform(region.lower, region.upper, size=(SAMPLES, len(width)))
    points = np.concatenate([known, points])
    values = _violation(network, region, points, end)
    best = np.argsort(-values, kind="stable")[:FAMILIES]
    points, values = points[best], values[best]
    step = FIRST_STEP
    for _ in range(GENERATIONS):
        if time.perf_counter() > end:
            break
        shape = (len(points), MUTANTS, len(width))
        moves = rng.normal(size=shape) * (rng.random(shape) < 0.5) * step * width
        mutants = np.clip(points[:, None] + moves, region.lower, region.upper)
        scores = _violation(network, region, mutants.reshape(-1, len(width)), end).reshape(-1, MUTANTS)
        winner = scores.argmax(axis=1)
        rows = np.arange(len(points))
        better = scores[rows, winner] > values
        points = np.where(better[:, None], mutants[rows, winner], points)
        values = np.where(better, scores[rows, winner], values)
        step *= SHRINKING
    return points


def _violation(network: Network, region: Region, points: Array, end: float) -> Array:
    """[b]; -inf for what the time did not suffice for (the first batch is always evaluated)."""
    values = np.full(len(points), -np.inf)
    for start in range(0, len(points), BATCH):
        if start and time.perf_counter() > end:
            break
        part = slice(start, start + BATCH)
        values[part] = region.violation(points[part], network(points[part]))
    return values
