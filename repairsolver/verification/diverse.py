"""Counterexamples far apart: spread over the disjuncts, the box and the activation patterns."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, apply, tensor_graph
from repairsolver.network import operators as ops
from repairsolver.network.gates import decided, gates_of
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property, Region
from repairsolver.results import Array, Counterexample
from repairsolver.verification.replay import belongs, replayed

# Points to choose from: so many for each wanted, at most; rounds of new ones, and how many in each.
CHOICE, MOST_POOL, ROUNDS, NEW = 16, 4096, 12, 512
# Neurons whose phases are compared, evenly spread over the network.
MOST_NEURONS = 1024
# Moves around a violating point: shares of the box between these powers of two.
NARROWEST, WIDEST = -10.0, -1.0
PHASED = (ops.Relu, ops.LeakyRelu, ops.Clip)


def diverse(
    network: Network,
    prop: Property,
    found: tuple[Counterexample, ...],
    count: int,
    *,
    seed: int = 0,
    until: float = np.inf,
    device: str = "cpu",
) -> tuple[Counterexample, ...]:
    """Up to `count` different counterexamples, spread out; the worst one comes first.

    More violating points are sampled around and between those found. Then the worst point of every pair
    (region, conjunction) that is violated at all is taken, then, one by one, the point farthest from all
    taken: by the distance within the box, and the share of neurons in another phase.

    Args:
        found: counterexamples, the worst first; at least one.
        until: when `time.monotonic()` has passed this, no more points are sampled.

    Source: Gonzalez 1985, "Clustering to minimize the maximum intercluster distance" (farthest points).
    """
    pool = _distinct([*found, *_more(network, prop, found, count, seed, until)])
    inputs = np.array([c.input for c in pool])
    outputs = np.array([c.output for c in pool])
    covered = _violated(network, prop, inputs, outputs)
    places = np.concatenate([_places(prop, inputs), _phases(network, inputs, device)], axis=1)
    return tuple(pool[k] for k in _farthest(places, covered, count))


def _distinct(points: list[Counterexample]) -> list[Counterexample]:
    """Without repetitions, worst first."""
    return sorted({c.input.tobytes(): c for c in points}.values(), key=lambda c: -c.violation)


def _more(
    network: Network,
    prop: Property,
    found: tuple[Counterexample, ...],
    count: int,
    seed: int,
    until: float,
) -> list[Counterexample]:
    """Violating points around and between known ones, each replayed."""
    rng, wanted = np.random.default_rng(seed), min(MOST_POOL, CHOICE * count)
    pool = _distinct(list(found))
    for _ in range(ROUNDS):
        if len(pool) >= wanted or time.monotonic() > until:
            break
        points = np.array([c.input for c in pool])
        blocks = []
        for region in prop.regions:
            if (inside := belongs(points, region, network.element)).any():
                blocks.append((region, _candidates(network, region, points[inside], rng)))
        pool = _distinct([*pool, *replayed(network, blocks)])
    return pool


def _candidates(network: Network, region: Region, known: Array, rng: np.random.Generator) -> Array:
    """Points near known ones, and on lines through two of them, that seem to violate."""
    width = region.upper - region.lower
    first, second = (known[rng.integers(len(known), size=NEW)] for _ in range(2))
    scale = 2.0 ** rng.uniform(NARROWEST, WIDEST, size=(NEW, 1))
    near = first + scale * width * rng.normal(size=first.shape)
    line = first + rng.uniform(-0.5, 1.5, size=(NEW, 1)) * (second - first)
    points = np.clip(np.concatenate([near, line]), region.lower, region.upper)
    return np.asarray(points[region.violation(points, network(points)) >= 0])


def _violated(network: Network, prop: Property, inputs: Array, outputs: Array) -> NDArray[np.bool_]:
    """Which (region, conjunction) each point violates, [k, q]."""
    columns = [
        belongs(inputs, region, network.element) & (conjunction.violation(inputs, outputs) >= 0)
        for region in prop.regions
        for conjunction in region.unsafe
    ]
    return np.stack(columns, axis=1)


def _places(prop: Property, inputs: Array) -> Array:
    """Inputs as shares of the hull of all regions, scaled so that opposite corners have distance 1."""
    lower = np.min([region.lower for region in prop.regions], axis=0)
    width = np.max([region.upper for region in prop.regions], axis=0) - lower
    free = width > 0
    return np.asarray((inputs[:, free] - lower[free]) / width[free] / np.sqrt(max(1, free.sum())))


def _phases(network: Network, inputs: Array, device: str) -> Array:
    """The phases of the neurons, all gates off; points with all phases different have distance 1: [k, p]."""
    plain = decided(network, [False] * len(gates_of(network)))
    graph = tensor_graph(plain, torch.float32, device)
    with torch.no_grad():
        found = _sides(graph, torch.tensor(inputs, dtype=torch.float32, device=device)).cpu().numpy()
    found = found[:, :: max(1, -(-found.shape[1] // MOST_NEURONS))]
    return np.asarray(found / np.sqrt(max(1, found.shape[1])), dtype=np.float64)


def _sides(graph: TensorGraph, points: Tensor) -> Tensor:
    """1 where a piecewise linear activation is above its kink (its lower one), else 0: [b, all neurons]."""
    values, sides = [points], [points[:, :0]]
    for node in graph.nodes:
        arguments = [values[k] for k in node.inputs]
        if isinstance(node.operator, PHASED):
            kink = node.operator.lower if isinstance(node.operator, ops.Clip) else 0.0
            sides.append((arguments[0] > kink).to(points.dtype))
        values.append(apply(node, arguments, graph.shape(node.inputs[0])))
    return torch.cat(sides, dim=1)


def _farthest(places: Array, covered: NDArray[np.bool_], count: int) -> list[int]:
    """Rows taken: the first, one for every column not covered yet, then those farthest from all taken."""
    taken: list[int] = []
    distance = np.full(len(places), np.inf)
    missing = covered.any(axis=0)
    while len(taken) < min(count, len(places)):
        helpful = covered[:, missing].any(axis=1) if missing.any() else np.zeros(0)
        if not taken:
            chosen = 0
        elif helpful.any():
            chosen = int(helpful.argmax())
        else:
            chosen = int(distance.argmax())
        taken.append(chosen)
        missing = missing & ~covered[chosen]
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen], axis=1))
        distance[taken] = -1.0
    return taken
