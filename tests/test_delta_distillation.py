"""Training on preferred points: derivatives against differences, mending from where it leads, repairs."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import dense_network
from scipy.special import log_softmax
from test_delta_objective import labelled
from test_delta_squared_moves import bare, measured, samples

import repairsolver as rs
from repairsolver.network import Network
from repairsolver.repairing.delta import distilled
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.distillation import PRICED, TEMPERATURE, Distillation, anchored
from repairsolver.repairing.delta.gauss_newton import _Descent
from repairsolver.repairing.delta.layer import find_layers
from repairsolver.repairing.delta.merit import Merit
from repairsolver.repairing.delta.objective import Aim, objective_for
from repairsolver.repairing.delta.points import add_points
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.squared_moves import squared_moves

NOWHERE = rs.Property((), 2, 3)
KEEP, PREFER = 0.4, 0.7
LIMITS = rs.Limits(seconds=30)


def unseen(network: Network, seed: int, count: int) -> rs.PointSet:
    """Points in a corner, with the network's second choice as their labels."""
    drawn = np.random.default_rng(seed).uniform(0.8, 1.6, (count, 2)).astype(np.float32).astype(np.float64)
    return rs.PointSet(drawn, network(drawn).argsort(axis=1)[:, -2])


def problem(
    network: Network, name: str, decision: str = "max", points: rs.PointSet | None = None
) -> LeastChange:
    layer = find_layers(network, Choice(name))
    requirements = Requirements(network, layer)
    plain = objective_for(layer, Aim("l2", minimise="behaviour"))
    objective = squared_moves(plain, requirements, NOWHERE, samples(network), decision, 0)
    prefer = unseen(network, 1, 15)
    points = points or labelled(network, 4)
    add_points(requirements, NOWHERE, points, samples(network), decision, KEEP, prefer, PREFER)
    return LeastChange(requirements, 0.1, objective, "projection")


def lesson(given: LeastChange) -> Distillation:
    return Distillation(given, bare(given), measured(given), True)


def everywhere(merit: Distillation, delta: np.ndarray) -> float:
    return merit.loss(merit.moved(delta, slice(None)), np.arange(len(merit.inputs)))


@pytest.mark.parametrize("decision", ["max", "min"])
@pytest.mark.parametrize("name", ["layer0", "layer1", "layer0, layer1", "layer2"])
def test_the_derivative_is_that_of_differences(name: str, decision: str) -> None:
    merit = lesson(problem(dense_network(3, (2, 5, 4, 3)), name, decision))
    rng, weight = np.random.default_rng(0), 0.7
    delta = 0.1 * rng.normal(size=merit.layer.size)
    gradient = merit.gradient(delta, weight, np.arange(len(merit.inputs)))

    def total(change: np.ndarray) -> float:
        state = merit.state(change)
        hard = [n for n, g in merit.problem.requirements.groups.items() if np.isinf(g.penalty)]
        lack = sum(np.maximum(state.short[name].max(axis=1), 0.0).sum() for name in hard)
        return everywhere(merit, change) + weight * merit.temperature * float(lack)

    for _ in range(5):
        way = rng.normal(size=len(delta))
        slope = (total(delta + 1e-6 * way) - total(delta - 1e-6 * way)) / 2e-6
        assert gradient @ way == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_its_value_is_the_divergence_and_the_price_of_points() -> None:
    """From forward passes alone, with labels in place of rows."""
    network = dense_network(3, (2, 5, 4, 3))
    merit = lesson(problem(network, "layer1"))
    delta = 0.2 * np.random.default_rng(0).normal(size=merit.layer.size)
    heat = TEMPERATURE * merit.squares.lead
    after = merit.layer.edited(delta)
    old, new = (log_softmax(net(samples(network).inputs) / heat, axis=1) for net in (network, after))
    prefer = unseen(network, 1, 15)
    assert prefer.labels is not None
    paid = -log_softmax(after(prefer.inputs) / heat, axis=1)[np.arange(15), prefer.labels].sum()
    wanted = (np.exp(old) * (old - new)).sum(axis=1).mean() + PREFER**2 / PRICED * paid
    kept = [g for g in merit.problem.requirements.groups.values() if not g.strict]
    lost = sum(
        (np.maximum(merit.state(delta).short[g.name].max(axis=1, initial=0.0), 0.0) ** 2).sum() for g in kept
    )
    every = sum((np.maximum(merit.state(delta).short[g.name], 0.0) ** 2).sum() for g in kept)
    assert every >= lost > 0
    assert everywhere(merit, delta) == pytest.approx(wanted * heat**2 + 0.5 * KEEP**2 * every)


def test_mending_goes_on_from_where_training_led() -> None:
    network = dense_network(4, (2, 10, 8, 3))
    given = problem(network, "layer1", points=unseen(network, 0, 4))
    merit = Merit(given, bare(given), measured(given), True)
    delta = 0.05 * np.random.default_rng(1).normal(size=merit.layer.size)
    mending = anchored(merit, delta)
    assert mending.state(delta).behaviour == pytest.approx(0.0, abs=1e-20)
    assert mending.state(np.zeros_like(delta)).behaviour > 0
    assert merit.state(delta).missing > 0
    descent = _Descent(mending, lambda: None)
    descent._descend(delta, 0.25, 60)
    assert descent.best is not None
    assert merit.state(descent.best.delta).missing == 0


@pytest.mark.parametrize("layer", ["layer0", "layer1", "layer2"])
def test_unseen_points_of_the_kind_gain(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilled, "MANY", 100)
    network = dense_network(4, (2, 10, 8, 3))
    points, prefer, others = (unseen(network, seed, count) for seed, count in ((0, 4), (1, 150), (2, 300)))
    given = {"layers": layer, "points": points, "minimise": "behaviour", "norm": "l2", "limits": LIMITS}
    given |= {"keep": samples(network, 100), "keep_soft": 0.01}
    plain = rs.repair(network, NOWHERE, **given)
    fix = rs.repair(network, NOWHERE, prefer=prefer, prefer_soft=0.5, **given)
    shares = []
    for found in (plain, fix):
        assert found.status is rs.RepairStatus.REPAIRED
        assert found.network is not None
        assert (found.network(points.inputs).argmax(axis=1) == points.labels).all()
        shares.append(float((found.network(others.inputs).argmax(axis=1) == others.labels).mean()))
    assert shares[1] >= shares[0]
    assert shares[1] > 0.6
