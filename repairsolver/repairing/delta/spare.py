r"""New work for spare neurons: regions that ask for the same are detected and answered, little else changes.

Many hidden neurons of a trained network are awake at no point that is to be kept. In a chain of dense layers
and ReLUs, such neurons of the first layer become detectors of regions (see `detectors`), one neuron of every
further layer collects those with the same target, and the last layer adds, for target t,

$$ y \mathrel{+}= v_t \sum_{d \in t} \gamma_d [w_d x + b_d]_+, \qquad C v_t \ge 1 $$

for the rows C of the conjunctions of t's regions (for a label: its score rises). Where no detector is awake
nothing changes but that the neurons are gone. The gains \(\gamma_d\) are doubled until linear bounds
are right for every region of d. A detector may be awake where that harms nothing: at points that keep their
decision all the more for it. The architecture stays; nothing is proved by this, and the change is not the
least.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog

from repairsolver.bounds.backward import Boxes, pull_back
from repairsolver.bounds.tensors import tensor_graph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.network.forward import activations
from repairsolver.network.graph import Network
from repairsolver.network.operators import Dense, Relu
from repairsolver.property.specification import Property, Region
from repairsolver.repairing.delta.detectors import Detectors, Wanted, find_detectors
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Array
from repairsolver.verification.engine import single_threaded
from repairsolver.verification.query import queries, strip_softmax

SPARE_SHARE = 0.005
"""A neuron is spare if it is awake at no larger share of the points, where some of these may be lost."""

DOUBLINGS = 10
"""Of a detector's gain, at most."""

Pair = tuple[Array, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A chain of dense layers with ReLUs between them, all of whose entries may change.

    Args:
        pairs: weights [r, k] and biases [r] of every layer.
        spare: neurons of every hidden layer that have nothing to do, the idlest first.
    """

    pairs: list[Pair]
    spare: list[NDArray[np.int64]]


def rewired(
    network: Network, prop: Property, requirements: Requirements, *, unit: float, seconds: float, seed: int
) -> Array | None:
    """The change that gives spare neurons the regions to watch.

    Args:
        unit: the first gain of a detector, in the units of the property's rows.

    Returns:
        [unknowns]; None where there is no chain, too few spare neurons, no points to keep, or no direction
        of the outputs that all conjunctions of a region ask for.
    """
    until = time.monotonic() + seconds
    layer = requirements.layer
    points = _kept(requirements)
    if not isinstance(layer, HiddenLayers) or points is None or not prop.regions:
        return None
    targets = _targets(prop.regions)
    chain = _chain(network, layer, points[0], requirements)
    if targets is None or chain is None:
        return None
    directions, owner = targets
    if len(chain.spare[0]) < len(directions) or any(len(s) < len(directions) for s in chain.spare[1:]):
        return None
    middle = np.array([(r.lower + r.upper) / 2 for r in prop.regions])
    radius = np.array([(r.upper - r.lower) / 2 for r in prop.regions])
    # Points whose decision a target's direction weakens; others may wake its detectors.
    harmed = np.array([(points[1] @ v).min(axis=1) < 0 for v in directions]).T
    wanted = Wanted(middle, radius, owner, points[0], harmed)
    with single_threaded(), torch.inference_mode(False):
        found = find_detectors(wanted, len(chain.spare[0]), seconds=seconds / 2, seed=seed)
    return _with_gains(prop, layer, chain, found, directions, unit, until)


def _kept(requirements: Requirements) -> tuple[Array, Array] | None:
    """Inputs [p, n] of decisions and their rows [p, r, m], fewer rows repeated."""
    groups = [group for group in requirements.groups.values() if group.every]
    if not groups:
        return None
    most = max(len(group.readout) for group in groups)
    padded = [group.readout[np.minimum(np.arange(most), len(group.readout) - 1)] for group in groups]
    rows = [
        np.repeat(part[None], len(group.inputs), axis=0) for part, group in zip(padded, groups, strict=True)
    ]
    return np.concatenate([g.inputs for g in groups]), np.concatenate(rows).astype(np.float64)


def _targets(regions: Sequence[Region]) -> tuple[list[Array], NDArray[np.int64]] | None:
    """Directions of the outputs, and which one every region needs; None if a region has none."""
    known: dict[bytes, int] = {}
    directions: list[Array] = []
    owner: list[int] = []
    for region in regions:
        if any(len(c.bound) != 1 for c in region.unsafe) or not region.unsafe:
            return None
        rows = np.concatenate([c.output for c in region.unsafe])
        if rows.tobytes() not in known:
            direction = _direction(rows)
            if direction is None:
                return None
            known[rows.tobytes()] = len(directions)
            directions.append(direction)
        owner.append(known[rows.tobytes()])
    return directions, np.array(owner, dtype=np.int64)


def _direction(rows: Array) -> Array | None:
    """v with rows @ v >= 1 and the least sum of magnitudes."""
    m = rows.shape[1]
    found = linprog(np.ones(2 * m), A_ub=np.hstack([-rows, rows]), b_ub=-np.ones(len(rows)), method="highs")
    return None if found.x is None else np.asarray(found.x[:m] - found.x[m:])


def _chain(network: Network, layer: HiddenLayers, points: Array, requirements: Requirements) -> Chain | None:
    """The network as a chain, if all of it may change."""
    dense = [node for node in network.nodes if isinstance(node.operator, Dense)]
    expected = [Dense, Relu] * (len(dense) - 1) + [Dense]
    if [type(node.operator) for node in network.nodes] != expected or len(dense) < 2:
        return None
    whole = {b.node.name for b in layer.blocks if b.size == b.operator.weight.size + b.operator.bias.size}
    if whole != {node.name for node in dense} or layer.scores != network.output.name:
        return None
    hard = any(np.isinf(group.penalty) for group in requirements.groups.values() if group.every)
    values = activations(network, points)
    spare = []
    for node in dense[:-1]:
        top, awake = values[node.name].max(axis=0), (values[node.name] > 0).mean(axis=0)
        order = np.lexsort([top, awake])
        spare.append(order[awake[order] <= (0.0 if hard else SPARE_SHARE)])
    operators = [node.operator for node in dense if isinstance(node.operator, Dense)]
    if any(o.weight.shape[0] != node.size for o, node in zip(operators, dense, strict=True)):
        return None
    return Chain([(o.weight, o.bias) for o in operators], spare)


def _with_gains(
    prop: Property,
    layer: HiddenLayers,
    chain: Chain,
    found: Detectors,
    directions: list[Array],
    unit: float,
    until: float,
) -> Array:
    """The change with the smallest gains, of those tried, for which bounds are right."""
    gains, open_ = np.full(len(found.weight), unit), np.arange(len(prop.regions))
    for doubling in range(DOUBLINGS + 1):
        delta = _delta(layer, chain, _connected(chain, found, directions, gains))
        if doubling == DOUBLINGS or time.monotonic() > until:
            break
        open_ = open_[~certain(layer.edited(delta), prop, open_)]
        if not len(open_):
            break
        gains[np.unique(found.used[open_])] *= 2
    return delta


def _connected(chain: Chain, found: Detectors, directions: list[Array], gains: Array) -> list[Pair]:
    """The layers with detectors, collectors and what they add to the outputs."""
    pairs = [(weight.copy(), bias.copy()) for weight, bias in chain.pairs]
    watching = chain.spare[0][: len(found.weight)]
    pairs[0][0][watching], pairs[0][1][watching] = found.weight, found.bias
    source, target = watching, found.target
    value = gains
    for (weight, bias), spare in zip(pairs[1:-1], chain.spare[1:], strict=True):
        collecting = spare[: len(directions)]
        weight[:, source] = 0.0
        weight[collecting], bias[collecting] = 0.0, 0.0
        weight[collecting[target], source] = value
        source, target, value = collecting, np.arange(len(directions)), np.ones(len(directions))
    pairs[-1][0][:, source] = np.array(directions)[target].T * value
    return pairs


def _delta(layer: HiddenLayers, chain: Chain, pairs: list[Pair]) -> Array:
    """From layers as they should be to the unknowns."""
    arrays = {}
    for block, new, old in zip(layer.blocks, pairs, chain.pairs, strict=True):
        for p in block.parameters:
            moved = (new[p.role == "bias"] - old[p.role == "bias"]) / p.source.factor
            arrays[p.source.tensor] = (moved.T if p.source.transposed else moved).reshape(p.stored.shape)
    return layer.gathered(arrays)


def certain(network: Network, prop: Property, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For which of the chosen regions linear bounds in float32 are right: a guide, and no proof."""
    part = Property(tuple(prop.regions[k] for k in chosen), prop.input_size, prop.output_size)
    core, part = strip_softmax(network, part)
    graph, asked = tensor_graph(core, torch.float32), queries(part, "cpu", torch.float32)
    lower, upper = (
        torch.tensor(np.array([getattr(r, end) for r in part.regions]), dtype=torch.float32)
        for end in ("lower", "upper")
    )
    owner = torch.tensor(np.repeat(np.arange(len(chosen)), [len(r.unsafe) for r in part.regions]))
    with single_threaded(), torch.no_grad():
        boxes = root_boxes(graph, lower, upper)
        tighten(graph, boxes)
        known = {k: (low[owner], high[owner]) for k, (low, high) in boxes.known.items()}
        start = {len(graph.nodes): asked.output, 0: asked.input}
        bound = pull_back(graph, Boxes(lower[owner], upper[owner], known), start, guide=True)
        best = (bound.minimum(lower[owner], upper[owner]) - asked.bound).amax(dim=1)
    right = torch.ones(len(chosen), dtype=torch.bool)
    right[owner[best <= 0]] = False
    return right.numpy()
