"""Coordinates with uncorrelated inputs: against covariances, differences and the plain change."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import conv_network, dense_network
from test_delta_squared_moves import bare, measured, problem, samples

from repairsolver.network.forward import activations
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.curvature import as_vector
from repairsolver.repairing.delta.decorrelated import PLAIN, Decorrelated
from repairsolver.repairing.delta.merit import Merit
from repairsolver.repairing.delta.momentum import sizes

NETWORK = dense_network(2, (3, 6, 5, 3))


def merit(name: str, only: str = "all") -> Merit:
    network = conv_network(0) if name == "second" else NETWORK
    given = problem(network, Choice(name, only) if only != "all" else Choice(name))
    return Merit(given, bare(given), measured(given), True)


@pytest.mark.parametrize(
    ("name", "only"),
    [
        ("layer0", "all"),
        ("layer1", "all"),
        ("layer1", "weights"),
        ("layer1", "biases"),
        ("layer0, layer2", "all"),
        ("second", "all"),
    ],
)
def test_gradients_follow_the_chain_rule(name: str, only: str) -> None:
    made = merit(name, only)
    coordinates = Decorrelated.of(made, 0.1)
    rng = np.random.default_rng(0)
    gradient, turned = rng.normal(size=(2, made.layer.size))
    assert coordinates.gradient(gradient) @ turned == pytest.approx(gradient @ coordinates.back(turned))


def test_outputs_move_alike_in_all_directions() -> None:
    """With hardly any damping, outputs have the covariance of the coordinates, and the mean u."""
    made = merit("layer1")
    block = made.layer.blocks[0]
    read = activations(NETWORK, made.inputs)[block.node.inputs[0]]
    alive = np.flatnonzero(read.std(axis=0) > 0)
    coordinates = Decorrelated.of(made, 1e-12)
    entries = np.random.default_rng(1).normal(size=(5, 7))
    change = block.change(coordinates.back(as_vector(block, entries)))
    moved = read @ change.weight.T + change.bias
    assert moved.mean(axis=0) == pytest.approx(entries[:, -1])
    covariance = np.cov(moved.T, bias=True)
    spanned = entries[
        :, 6 - len(alive) : 6
    ]  # eigenvalues come in increasing order, those of dead inputs first
    assert covariance == pytest.approx(spanned @ spanned.T, rel=1e-4, abs=1e-6)


def test_large_damping_leaves_directions_as_they_are() -> None:
    made = merit("layer0", "weights")
    coordinates = Decorrelated.of(made, 1e9)
    turn = coordinates.turns[0]
    assert turn is not None
    product = turn.T @ turn
    assert product == pytest.approx(product[0, 0] * np.eye(3), rel=1e-6)


def test_units_are_how_much_outputs_vary() -> None:
    made = merit("layer1")
    values = activations(NETWORK, made.inputs)
    assert Decorrelated.of(made, 0.1).units == pytest.approx(values["z1"].std() / 7)


def test_other_layers_stay_as_they_are() -> None:
    made = merit("second")
    coordinates = Decorrelated.of(made, 0.1)
    vector = np.random.default_rng(2).normal(size=made.layer.size)
    assert (coordinates.back(vector) == vector).all()
    assert (coordinates.units == PLAIN * sizes(made)).all()


def test_constant_inputs_have_no_directions() -> None:
    network = dense_network(2, (3, 6, 3))
    given = problem(network, Choice("layer0", "weights"))
    made = Merit(given, bare(given), measured(given), True)
    made.tail.known["x"][:] = 0.0
    turn = Decorrelated.of(made, 0.1).turns[0]
    assert turn is not None
    assert (turn == np.eye(3)).all()
    assert len(samples(network).inputs)
