"""The published placement, written anew: constants for the neurons with the steepest loss, one after another.

Source: arXiv 2012.01872; eta 0.35, at most 5 % of the neurons, 50 picks of each. Our verifier takes the place
of DeepPoly and Gurobi, and the boxes are those that our search leaves open, not a grid of failed sub-boxes.
"""

from __future__ import annotations

import time
from collections import Counter

import numpy as np

import repairsolver as rs
from benchmarks.gates.whole import as_repair
from repairsolver.network.gated import NewGate, Override, add_gates
from repairsolver.network.graph import Node
from repairsolver.network.operators import Dense, Relu
from repairsolver.property.specification import Property, Region
from repairsolver.repairing.gate.edit import Gates
from repairsolver.repairing.gate.regions import find_places
from repairsolver.repairing.gate.session import Session, prove
from repairsolver.repairing.gate.wishes import Gating
from repairsolver.results import Array

ETA, SHARE, PICKS = 0.35, 0.05, 50
VERIFY_SECONDS = 5.0
LOSSES = {2: {0: -1.0}, 7: {3: 1.0, 4: 1.0}, 8: {0: -1.0, 1: -1.0}}
"""Factors of the cross-entropies that make up the loss, by property."""

Constants = dict[tuple[int, int], float]


def greedy_gates(network: rs.Network, prop: rs.Property, seconds: float, seed: int) -> rs.Repair:
    """Every box that is open gets constants until its counterexamples are right and the box is proved."""
    started = time.perf_counter()
    places = find_places(network, prop, most=4, seconds=0.25 * seconds, memory_gb=4.0) or []
    losses = LOSSES[int("".join(filter(str.isdigit, prop.name)))]
    gates: list[NewGate] = []
    for place in places:
        for low, high in zip(place.lower, place.upper, strict=True):
            region = prop.regions[place.region]
            inner = Region(np.maximum(low, region.lower), np.minimum(high, region.upper), region.unsafe)
            box = Property((inner,), prop.input_size, prop.output_size, name=prop.name)
            found = _repaired(network, box, low, high, losses, started + seconds, seed)
            if found is None:
                message = "more than 5 % of the neurons, or time is up"
                return as_repair(rs.RepairStatus.UNKNOWN, None, None, None, started, message)
            gates += found
    left = max(1.0, seconds - (time.perf_counter() - started))
    session = Session(network, prop, Gating(), "min", rs.Limits(seconds=left), seed, None, "none")
    candidate = prove(session, gates, "greedily chosen neurons", 1.0)
    status = rs.RepairStatus.REPAIRED if candidate.proved else rs.RepairStatus.UNKNOWN
    edit = Gates(tuple(gates), network.sha256)
    return as_repair(status, candidate.network, edit, candidate.verdict, started, candidate.where)


def _repaired(
    network: rs.Network,
    box: Property,
    low: Array,
    high: Array,
    losses: dict[int, float],
    until: float,
    seed: int,
) -> list[NewGate] | None:
    """Constants of hidden neurons in one box; None if they become too many, or time is up."""
    relus = [node for node in network.nodes if isinstance(node.operator, Relu)]
    most = SHARE * sum(node.size for node in relus)
    constants: Constants = {}
    picks: Counter[tuple[int, int]] = Counter()
    found = rs.falsify(network, box, worst=False, limits=rs.Limits(seconds=2.0), seed=seed).counterexample
    point = (box.regions[0].lower + box.regions[0].upper) / 2 if found is None else found.input
    while time.perf_counter() < until and len(constants) <= most:
        hidden, scores, gradients = _steepness(network, point, constants, losses)
        _pick(hidden, gradients, constants, picks)
        _, scores, _ = _steepness(network, point, constants, losses)
        if box.violation(point[None], scores[None])[0] >= 0:
            continue
        gates = _as_gates(relus, constants, low, high)
        verdict = rs.verify(
            add_gates(network, gates), box, limits=rs.Limits(seconds=VERIFY_SECONDS), seed=seed
        )
        if verdict.status is rs.VerifyStatus.HOLDS:
            return gates
        if verdict.counterexample is not None:
            point = verdict.counterexample.input
    return None


def _pick(
    hidden: list[Array], gradients: list[Array], constants: Constants, picks: Counter[tuple[int, int]]
) -> None:
    """Make the neuron with the steepest loss a constant, and move it downhill."""
    order = sorted(
        ((abs(float(g)), layer, i) for layer, row in enumerate(gradients) for i, g in enumerate(row)),
        reverse=True,
    )
    for _, layer, i in order:
        key, slope = (layer, i), float(gradients[layer][i])
        stuck = constants.get(key) == 0.0 and slope > 0
        if picks[key] < PICKS and not stuck:
            before = constants.get(key) or float(hidden[layer][i])
            constants[key] = max(0.0, before - ETA * slope)
            picks[key] += 1
            return


def _steepness(
    network: rs.Network, point: Array, constants: Constants, losses: dict[int, float]
) -> tuple[list[Array], Array, list[Array]]:
    """Hidden layers after the gates, scores, and the loss's gradient at every hidden neuron."""
    dense = [node.operator for node in network.nodes if isinstance(node.operator, Dense)]
    value, hidden, awake = point, [], []
    for number, layer in enumerate(dense[:-1]):
        before = layer.weight @ value + layer.bias
        awake.append((before > 0).astype(float))
        value = np.maximum(before, 0.0)
        for (place, i), constant in constants.items():
            if place == number:
                value[i], awake[-1][i] = constant, 0.0
        hidden.append(value)
    scores = dense[-1].weight @ value + dense[-1].bias
    chance = np.exp(scores - scores.max())
    back = sum(f * (chance / chance.sum() - np.eye(len(scores))[label]) for label, f in losses.items())
    back = np.asarray(back)
    gradients = []
    for layer, gate in zip(reversed(dense[1:]), reversed(awake), strict=True):
        back = layer.weight.T @ back
        gradients.append(back)
        back = back * gate
    return hidden, scores, gradients[::-1]


def _as_gates(relus: list[Node], constants: Constants, low: Array, high: Array) -> list[NewGate]:
    gates = []
    for number, node in enumerate(relus):
        own = {i: constant for (place, i), constant in constants.items() if place == number}
        if own:
            fixed = np.array(list(own.values()))
            index = np.array(list(own), dtype=np.int64)
            change = Override(index, np.ones(len(own)), np.zeros(len(own)), fixed, fixed)
            gates.append(NewGate(node.name, node.layer, low[None], high[None], change))
    return gates
