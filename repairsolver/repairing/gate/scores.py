"""Gates at the scores: which tensor holds them, and the corrections of all places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from repairsolver.errors import EditError
from repairsolver.network.forward import forward
from repairsolver.network.gated import Correction, NewGate, gateable
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Softmax
from repairsolver.property.specification import Region
from repairsolver.repairing.gate.contradiction import explained
from repairsolver.repairing.gate.regions import Place, overlaps
from repairsolver.repairing.gate.session import Session
from repairsolver.repairing.gate.shield import shield
from repairsolver.results import Array
from repairsolver.verification.replay import into_box

SAMPLES, FEWEST_SAMPLES, MOST_ENTRIES = 2048, 128, 2**23
"""Uniform samples of every place, by which a correction is chosen; fewer where the tensors at all of them
would have more entries."""


def output_node(network: Network) -> Node:
    """The scores that are corrected: the output, or what a final softmax reads.

    Raises:
        EditError: the file does not make that tensor by a node of its own.
    """
    last = network.output
    name = last.inputs[0] if isinstance(last.operator, Softmax) else last.name
    for node in gateable(network):
        if node.name == name:
            return node
    raise EditError(f"{network.name}: the file has no tensor of its scores ({name!r}) that could be gated")


def scores(network: Network, points: Array) -> Array:
    """What `output_node` holds, [b, m]."""
    node = output_node(network)
    upto = network.nodes[: network.nodes.index(node) + 1]
    return forward(replace(network, nodes=upto), points)


def samples(network: Network, place: Place, region: Region, seed: int) -> Array:
    """Uniform points of a place, within its region, as numbers of the network's type."""
    rng = np.random.default_rng(seed)
    entries = network.input_size + sum(node.size for node in network.nodes)
    count = int(np.clip(MOST_ENTRIES // entries, FEWEST_SAMPLES, SAMPLES))
    chosen = rng.integers(len(place.lower), size=count)
    low, high = np.maximum(place.lower, region.lower)[chosen], np.minimum(place.upper, region.upper)[chosen]
    return into_box(low + rng.random(low.shape) * (high - low), region, network.element)


def violation(region: Region, points: Array, outputs: Array) -> Array:
    """By how much points [b, n] of a region violate, [b]; an input without a number of the network's type in
    its interval may lie beside it."""
    return np.asarray(np.max([c.violation(points, outputs) for c in region.unsafe], axis=0))


def output_gates(session: Session, places: Sequence[Place]) -> list[NewGate] | None:
    """A correction of the scores for every place; None if one has no correction, with the reason noted.

    Where regions lie over each other, the last gate meets the demands of all of them.
    """
    node, gates = output_node(session.network), []
    for place in [*places, *overlaps(session.prop, places)]:
        region = place.demands(session.prop)
        points = samples(session.network, place, region, session.seed)
        change = shield(region, points, scores(session.network, points))
        if change is None:
            session.reasons.append(explained(region, place.region))
            return None
        gates.append(NewGate(node.name, node.layer, place.lower, place.upper, change))
    return [*merged(gates[: len(places)]), *gates[len(places) :]]


def merged(gates: Sequence[NewGate]) -> list[NewGate]:
    """Gates whose corrections differ at most in their margins as one gate, with the largest margins."""
    found: dict[bytes, NewGate] = {}
    for gate in gates:
        change = gate.change
        assert isinstance(change, Correction)
        key = b"|".join(a.tobytes() for a in (change.output, change.input, change.direction))
        if (before := found.get(key)) is not None:
            assert isinstance(before.change, Correction)
            corners = np.vstack([before.lower, gate.lower]), np.vstack([before.upper, gate.upper])
            bound = np.maximum(before.change.bound, change.bound)
            gate = NewGate(gate.tensor, gate.layer, *corners, replace(change, bound=bound))
        found[key] = gate
    return list(found.values())
