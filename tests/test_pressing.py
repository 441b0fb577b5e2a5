"""Lower bounds pressed by counterexamples of changes that are hardly larger."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import dense_network

from repairsolver.network import Network
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.candidate import make_candidate
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.loop import Session, update_bound
from repairsolver.repairing.delta.objective import Aim, objective_for
from repairsolver.repairing.delta.pressing import press_bound
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Limits

LIMIT = 0.9
"""The share of the largest output that must not be reached."""


def below(network: Network) -> tuple[Property, float]:
    """The output stays below a limit; and by how much a dense grid shows that it does not."""
    axis = np.linspace(-1, 1, 1201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    most = float(network(grid).max())
    limit = most - LIMIT * abs(most)
    unsafe = Conjunction(-np.eye(1), np.zeros((1, 2)), np.array([-limit]))
    return Property((Region(np.full(2, -1.0), np.full(2, 1.0), (unsafe,)),), 2, 1), most - limit


@pytest.mark.parametrize("seed", [1, 4, 6])
def test_the_bound_reaches_the_least_change_of_a_bias(seed: int) -> None:
    """The bias has to fall by the largest violation, which a grid knows, whatever points there were."""
    network = dense_network(seed, (2, 10, 6, 1))
    prop, least = below(network)
    layer = find_layers(network, Choice("last", parameters="biases"), comparing=False)
    required = Requirements(network, layer)
    session = Session(
        network, prop, layer, required, objective_for(layer, Aim()), 1e-4, "highs", Limits(60.0), 0, None
    )
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (2000, 2)).astype(np.float32).astype(np.float64)
    violation = prop.violation(points, network(points))
    barely = np.argsort(np.where(violation > 0, violation, np.inf))[:3]
    required.forbid(prop, points[barely])
    update_bound(session)
    weak = session.lower
    assert weak < 0.9 * least
    large = np.array([-3 * least])
    session.best = make_candidate(network, layer, large, lambda d: float(np.abs(d).sum()), 0.0)
    press_bound(session)
    update_bound(session)
    assert 0.99 * least < session.lower < least * (1 + 1e-3)  # a grid misses the maximum by a little
    assert session.lower <= session.unbroken < 1.05 * least


def test_nothing_is_pressed_without_a_proved_change() -> None:
    network = dense_network(1, (2, 10, 6, 1))
    prop, _ = below(network)
    layer = find_layers(network, Choice("last", parameters="biases"), comparing=False)
    objective = objective_for(layer, Aim())
    session = Session(
        network, prop, layer, Requirements(network, layer), objective, 1e-4, "highs", Limits(60.0), 0, None
    )
    press_bound(session)
    assert len(session.requirements) == 0
    assert np.isinf(session.unbroken)
