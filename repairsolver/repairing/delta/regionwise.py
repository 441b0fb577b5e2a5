"""Worst points of many regions with many inputs, such as a hundred robustness balls: all climbed in at once.

Paths start from the middle of each region, random points and earlier counterexamples, and climb towards the
conjunction that is nearest to being violated there: one path where an attack on every conjunction of every
region takes as many as there are conjunctions, and every region gets its share of the time and of the result.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, tensor_graph
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property, Region
from repairsolver.results import Array
from repairsolver.verification.attack import ascend
from repairsolver.verification.engine import single_threaded
from repairsolver.verification.query import Queries, queries, slack, strip_softmax
from repairsolver.verification.replay import belongs, into_box

RANDOM, KNOWN, STEPS = 4, 4, 25
"""Starts in every region: its middle, random points, the newest counterexamples; and the steps of a path."""

EACH = 2
"""Counterexamples taken from one region at a time."""

BATCH = 1024
"""Paths climbed at once."""


def attack_regions(
    network: Network, prop: Property, known: Array, *, least: float, seed: int, seconds: float
) -> Array:
    """The worst inputs of every region that violate by at least `least` (which may be negative), [b, n].

    Args:
        known: inputs [b, n], the newest last, that paths start from in the regions they lie in.
        seconds: no new batch of regions begins after this time; their order is random.
    """
    core, stripped = strip_softmax(network, prop)
    graph, asked = tensor_graph(core, torch.float32, "cpu"), queries(stripped, "cpu", torch.float32)
    counts = [len(region.unsafe) for region in prop.regions]
    firsts = np.cumsum([0, *counts])
    rng, until = np.random.default_rng(seed), time.monotonic() + seconds
    order = [number for number in rng.permutation(len(counts)).tolist() if counts[number]]
    found = [np.zeros((0, network.input_size))]
    together = BATCH // (1 + RANDOM + KNOWN)
    for begin in range(0, len(order), together):
        if begin and time.monotonic() > until:
            break
        chosen = order[begin : begin + together]
        starts = [_starts(prop.regions[k], known, network, rng) for k in chosen]
        owners = np.repeat(chosen, [len(part) for part in starts])
        points = torch.tensor(np.concatenate(starts), dtype=torch.float32)
        with single_threaded():
            which = _nearest(graph, asked, points, firsts[owners], np.array(counts)[owners])
            climbed, _ = ascend(graph, asked, which, points, STEPS, patient=True)
        reached = climbed.double().numpy()
        found += [_worst(network, prop.regions[k], reached[owners == k], least) for k in chosen]
    return np.concatenate(found)


def _starts(region: Region, known: Array, network: Network, rng: np.random.Generator) -> Array:
    """The middle of a region, random points, and the newest known inputs in it, [k, n]."""
    shape = (RANDOM, len(region.lower))
    inside = known[belongs(known, region, network.element)][-KNOWN:] if len(known) else known
    middle = (region.lower + region.upper)[None] / 2
    return np.concatenate([middle, rng.uniform(region.lower, region.upper, size=shape), inside])


def _nearest(graph: TensorGraph, asked: Queries, points: Tensor, first: Array, count: Array) -> Tensor:
    """The query of each point's region that is nearest to being violated at it, [b]."""
    with torch.no_grad():
        outputs = graph.forward(points)
        best = torch.full((len(points),), -torch.inf)
        chosen = torch.tensor(first)
        for offset in range(int(count.max())):
            index = torch.tensor(first + np.minimum(offset, count - 1))
            value = slack(asked, index, points, outputs)
            chosen = torch.where(value > best, index, chosen)
            best = torch.maximum(value, best)
    return chosen


def _worst(network: Network, region: Region, points: Array, least: float) -> Array:
    """The worst `EACH` different inputs of a region among points [b, n] that violate by at least `least`."""
    inputs = np.unique(into_box(points, region, network.element), axis=0)
    values = region.violation(inputs, network(inputs))
    order = np.argsort(-values, kind="stable")[:EACH]
    return inputs[order[values[order] >= least]]
