"""The hidden layers at the end of a network, and the neuron of each that is missed least.

A rectifier that is active at no point can be given up for nothing. Where a layer has none, every candidate is
silenced in turn: the layers behind it are computed anew at the points where it is active (at all others
nothing changes), and the decisions that change are counted, on all points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Dense, Relu
from repairsolver.repairing.imitation.behaviour import Behaviours, Ids
from repairsolver.repairing.imitation.writing import writable
from repairsolver.results import Array

TRIED, BUSY = 12, 0.2
"""Neurons of a layer that are silenced in trial, those with the least mean output first; and the share of
points at which a candidate is active at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """A hidden layer of the tail: a dense layer whose rectifier feeds the next dense layer alone."""

    dense: Node
    relu: Node
    user: Node


@dataclass(frozen=True, slots=True)
class Spare:
    """A neuron to be given up, and the share of decisions at points to keep that change without it."""

    neuron: int
    lost: float


def hidden_tail(network: Network, core: Network) -> list[Hidden]:
    """The hidden layers before the last dense layer, first to last, as far as they form a chain."""
    users: dict[str, list[Node]] = {}
    for node in core.nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    found: list[Hidden] = []
    last = core.output
    if not _plain(network, core, last):
        return []
    while True:
        relu = core.by_name.get(last.inputs[0])
        if relu is None or not isinstance(relu.operator, Relu) or len(users[relu.name]) != 1:
            return found[::-1]
        dense = core.by_name.get(relu.inputs[0])
        if dense is None or not _plain(network, core, dense) or len(users[dense.name]) != 1:
            return found[::-1]
        found.append(Hidden(dense, relu, last))
        last = dense


def least_missed(
    behaviours: Behaviours, tail: Sequence[Hidden], wrong: Mapping[str, Array], kept: Mapping[str, Array]
) -> list[Spare | None]:
    """The neuron of every layer whose silence changes the fewest decisions; None: all are busy.

    Args:
        wrong, kept: the values of all tensors at negatives and at points to keep.
    """
    decided = behaviours.decided(kept[tail[-1].user.name])
    return [
        _least_missed(behaviours, tail[at:], wrong[h.relu.name], kept[h.relu.name], decided)
        for at, h in enumerate(tail)
    ]


def behind(tail: Sequence[Hidden], values: Array, silent: Sequence[int]) -> Array:
    """The outputs that follow from values of the first rectifiers, with a neuron of every layer silenced.

    Args:
        values: of the first layer's rectifiers, [b, n].
        silent: the first neurons of so many layers, one each.
    """
    for at, hidden in enumerate(tail):
        operator = hidden.user.operator
        assert isinstance(operator, Dense)
        weight = operator.weight
        if at < len(silent):
            weight = weight.copy()
            weight[:, silent[at]] = 0.0
        values = values @ weight.T + operator.bias
        if at + 1 < len(tail):
            values = np.maximum(values, 0.0)
    return values


def _least_missed(
    behaviours: Behaviours, tail: Sequence[Hidden], wrong: Array, kept: Array, decided: Ids
) -> Spare | None:
    active = kept > 0
    never = np.flatnonzero(~(active.any(axis=0) | (wrong > 0).any(axis=0)))
    if len(never):
        return Spare(int(never[0]), 0.0)
    operator = tail[0].user.operator
    assert isinstance(operator, Dense)
    passed = np.abs(operator.weight).sum(axis=0) * kept.mean(axis=0)
    passed[active.mean(axis=0) > BUSY] = np.inf
    best: Spare | None = None
    for neuron in passed.argsort(kind="stable")[:TRIED]:
        if not np.isfinite(passed[neuron]):
            break
        at = np.flatnonzero(active[:, neuron])
        outputs = behind(tail, kept[at], [neuron])
        lost = float((behaviours.decided(outputs) != decided[at]).any(axis=1).sum()) / len(kept)
        if best is None or lost < best.lost:
            best = Spare(int(neuron), lost)
    return best


def _plain(network: Network, core: Network, node: Node) -> bool:
    """Whether a layer is one matrix on its whole input, with weights and biases that can be written."""
    if not isinstance(node.operator, Dense):
        return False
    source = core.by_name.get(node.inputs[0])
    size = core.input_size if source is None else source.size
    return node.operator.weight.shape == (node.size, size) and writable(network, node)
