"""What is computed without matrices of zeros is what the matrices say."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import conv_network, dense_network

from repairsolver.network import Network
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.layer import EditableLayer, find_layers
from repairsolver.repairing.delta.points import add_points
from repairsolver.repairing.delta.requirements import Requirements

CHOICES = {
    "both": Choice("last"),
    "weights": Choice("last", parameters="weights"),
    "neurons": Choice("last", neurons=[0, 1]),
}


def editable(network: Network, choice: Choice) -> EditableLayer:
    layer = find_layers(network, choice)
    assert isinstance(layer, EditableLayer)
    return layer


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("network", [dense_network(2, (5, 30, 4)), conv_network(1)])
def test_entries_and_sparse_changes_are_those_of_the_matrices(network: Network, choice: str) -> None:
    layer = editable(network, CHOICES[choice])
    rng = np.random.default_rng(0)
    hidden, _ = layer.points(network, rng.uniform(-1, 1, (20, network.input_size)))
    readout = rng.normal(size=(1, layer.tail.shape[0])) * (rng.random(layer.tail.shape[0]) < 0.6)
    dense = layer.gradient(hidden, readout)[:, 0]
    for at, row in zip(hidden, dense, strict=True):
        columns, values = layer.block.entries(at, (layer.tail.T @ readout.T).ravel())
        assert np.array_equal(columns, np.unique(columns))
        spread = np.zeros(layer.size)
        spread[columns] = values
        assert spread == pytest.approx(row, abs=1e-12)
    single = np.zeros(layer.size)
    single[rng.integers(layer.size)] = 1.5  # few enough to count as sparse in the dense layer
    assert (layer.effect(hidden, single) @ readout[0]) == pytest.approx(dense @ single, abs=1e-12)


@pytest.mark.parametrize("decision", ["max", "min"])
def test_comparisons_are_products_with_the_readout(decision: str) -> None:
    network = dense_network(3, (4, 12, 5))
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-1, 1, (40, 4))
    required = Requirements(network, editable(network, Choice("last")))
    given = PointSet(inputs, rng.integers(0, 5, 40))
    add_points(required, Property((), 4, 5), given, None, decision)
    for group in required.groups.values():
        assert group.beats is not None
        scores = network(group.inputs)
        assert group.slack == pytest.approx(scores @ group.readout.T, abs=1e-12)
        assert group.rows(scores) == pytest.approx(scores @ group.readout.T, abs=1e-12)
        multipliers = rng.normal(size=group.slack.shape)
        assert group.pressed(multipliers) == pytest.approx(multipliers @ group.readout, abs=1e-12)
        sizes = required.layer.magnitude(group.hidden)
        eps = np.finfo(required.layer.parameters[0].stored.dtype).eps
        assert group.rounding == pytest.approx(eps * (sizes @ np.abs(group.readout).T).max(axis=1))
        part = group.part(np.array([0]))
        assert np.array_equal(part.slack, group.slack[:1])
        assert part.beats == group.beats
