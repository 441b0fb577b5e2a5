"""The least change of behaviour: against scipy, by a hand-made case, and through a whole repair."""

from __future__ import annotations

import numpy as np
import pytest
from delta_networks import dense_network
from scipy.optimize import linprog
from test_delta_objective import box_that_holds, dense_rows, labelled, required

from repairsolver.errors import EditError
from repairsolver.network import replay
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing import repair_property
from repairsolver.repairing.delta.behaviour import behavioural
from repairsolver.repairing.delta.branching import optimise
from repairsolver.repairing.delta.objective import Aim, Objective, objective_for
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Limits, RepairStatus

NETWORK = dense_network(0, (2, 6, 3))
SAMPLES = PointSet(np.random.default_rng(5).uniform(-2, 2, (40, 2)).astype(np.float32).astype(np.float64))
NOWHERE = Property((), 2, 3)


def aimed(requirements: Requirements, keep: PointSet | None, max_change: float | None = None) -> Objective:
    plain = objective_for(requirements.layer, Aim(minimise="behaviour", max_change=max_change))
    return behavioural(plain, requirements, NOWHERE, keep, "max", 0)


def margins(outputs: np.ndarray, decided: np.ndarray) -> np.ndarray:
    return outputs - np.take_along_axis(outputs, decided[:, None], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_value_is_the_mean_change_of_the_margins(seed: int) -> None:
    requirements = required(NETWORK, labelled(NETWORK, 2))
    layer = requirements.layer
    delta = np.random.default_rng(seed).normal(size=layer.size)
    hidden, scores = layer.points(NETWORK, SAMPLES.inputs)
    decided = scores.argmax(axis=1)
    moved = margins(scores + layer.effect(hidden, delta), decided) - margins(scores, decided)
    assert aimed(requirements, SAMPLES).value(delta) == pytest.approx(np.abs(moved).sum(axis=1).mean())


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_is_that_of_scipy(seed: int) -> None:
    """min 1't with -t <= A d <= t, over the rows that must hold, entries within 3."""
    requirements = required(NETWORK, labelled(NETWORK, 2, seed))
    objective = aimed(requirements, SAMPLES, max_change=3.0)
    found = optimise(LeastChange(requirements, 0.0, objective, "highs"), shared=False)
    matrix, missing = dense_rows(requirements, 0.0)
    assert objective.moves is not None
    moves = objective.moves.toarray()
    k, size = moves.shape
    rows = np.block(
        [[moves, -np.eye(k)], [-moves, -np.eye(k)], [-matrix, np.zeros((len(matrix), k))]],
    )
    sides = np.concatenate([np.zeros(2 * k), -missing])
    bounds = [(-3.0, 3.0)] * size + [(0, None)] * k
    expected = linprog(np.concatenate([np.zeros(size), np.ones(k)]), rows, sides, bounds=bounds)
    assert found.cost == pytest.approx(expected.fun, rel=1e-4, abs=1e-7)
    assert found.bound == pytest.approx(expected.fun, rel=1e-4, abs=1e-7)
    assert found.bound <= found.cost + 1e-9


def test_a_repair_moves_margins_less_than_the_least_weights_do() -> None:
    points = labelled(NETWORK, 1, 2)
    common = {"points": points, "gap": 0.1, "limits": Limits(seconds=60), "seed": 1}
    weights = repair_property(NETWORK, box_that_holds(), **common)
    keep = PointSet(SAMPLES.inputs, name="samples")
    fix = repair_property(
        NETWORK, box_that_holds(), minimise="behaviour", keep=keep, keep_soft=1e-3, **common
    )
    assert fix.status is RepairStatus.REPAIRED
    assert fix.norm == "behaviour"
    assert fix.network is not None
    assert fix.edit is not None
    assert weights.network is not None
    assert weights.edit is not None
    assert replay(fix.network, points.inputs).argmax(axis=1) == points.labels
    assert fix.edit.norm("l1") >= weights.edit.norm("l1") * 0.9

    def moved(repaired: np.ndarray) -> float:
        before = NETWORK(SAMPLES.inputs)
        decided = before.argmax(axis=1)
        return float(np.abs(margins(repaired, decided) - margins(before, decided)).sum(axis=1).mean())

    assert moved(fix.network(SAMPLES.inputs)) <= moved(weights.network(SAMPLES.inputs)) + 1e-6


def test_without_points_the_regions_are_sampled() -> None:
    requirements = required(NETWORK, labelled(NETWORK, 1))
    plain = objective_for(requirements.layer, Aim(minimise="behaviour"))
    objective = behavioural(plain, requirements, box_that_holds(), None, "max", 0)
    assert objective.moves is not None
    assert objective.moves.shape == (500 * 2, requirements.layer.size)
    again = behavioural(plain, requirements, box_that_holds(), None, "max", 0)
    assert again.moves is not None
    assert (objective.moves != again.moves).nnz == 0
    with pytest.raises(EditError, match="nothing to measure on"):
        behavioural(plain, requirements, NOWHERE, None, "max", 0)


def test_misuse_is_named() -> None:
    with pytest.raises(EditError, match="unknown minimise 'speed': choose one of weights, behaviour"):
        Aim(minimise="speed")
    with pytest.raises(EditError, match="leave norm at 'l1'"):
        Aim(minimise="behaviour", norm="linf")
    with pytest.raises(EditError, match="leave norm at 'l1'"):
        Aim(minimise="behaviour", weights=np.ones(3))
