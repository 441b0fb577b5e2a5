"""What a repair minimises: L0 against all supports, weights and relative norms, the reach of every entry."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from delta_networks import dense_network
from scipy.optimize import linprog

from layerwise.program import Program
from repairsolver.errors import EditError, SolverCapabilityError, SolverError
from repairsolver.network import Network, replay
from repairsolver.property import PointSet
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing import repair_property
from repairsolver.repairing.delta import reduced
from repairsolver.repairing.delta.branching import optimise
from repairsolver.repairing.delta.layer import find_layer
from repairsolver.repairing.delta.objective import AIM_NORMS, Aim, check_solver, objective_for
from repairsolver.repairing.delta.points import add_points
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Limits, RepairStatus
from repairsolver.solvers import Solution, SolutionStatus, get_solver

NETWORK = dense_network(0, (2, 6, 3))
LIMITS = Limits(seconds=120.0)
NOWHERE = Property((), 2, 3, name="nothing")


def labelled(network: Network, count: int, seed: int = 0) -> PointSet:
    """Random points that are to have the next label."""
    x = np.random.default_rng(seed).uniform(-2, 2, size=(count, network.input_size)).astype(np.float32)
    labels = (network(x.astype(np.float64)).argmax(axis=1) + 1) % network.output_size
    return PointSet(x.astype(np.float64), labels)


def required(network: Network, points: PointSet, keep: PointSet | None = None) -> Requirements:
    requirements = Requirements(network, find_layer(network))
    prop = Property((), network.input_size, network.output_size)
    add_points(requirements, prop, points, keep, "max")
    return requirements


def least(requirements: Requirements, margin: float, solver: str = "highs", **aim: object) -> LeastChange:
    return LeastChange(requirements, margin, objective_for(requirements.layer, Aim(**aim)), solver)


def dense_rows(requirements: Requirements, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """G and what each row lacks, of groups that need every row."""
    matrix, missing = [], []
    for group in requirements.groups.values():
        gradient = requirements.layer.gradient(group.hidden, group.readout)
        matrix.append(gradient.reshape(-1, requirements.layer.size))
        missing.append((group.need(margin)[:, None] - group.slack).ravel())
    return np.concatenate(matrix), np.concatenate(missing)


def weighted_l1(matrix: np.ndarray, missing: np.ndarray, weights: np.ndarray, reach: np.ndarray) -> float:
    """The weighted L1 optimum by scipy, infinite if there is none."""
    cost, double = np.concatenate([weights, weights]), np.hstack([matrix, -matrix])
    bounds = [(0, r) for r in np.concatenate([reach, reach])]
    answer = linprog(cost, -double, -missing, bounds=bounds)
    return float(answer.fun) if answer.status == 0 else np.inf


@pytest.mark.parametrize("seed", range(4))
def test_l0_is_the_smallest_support(seed: int) -> None:
    """Every set of k entries is tried by a linear program, k from 1."""
    network = dense_network(seed, (2, 3, 2))
    requirements = required(network, labelled(network, 3, seed))
    found = optimise(least(requirements, 0.05, norm="l0", max_change=4.0), shared=False)
    matrix, missing = dense_rows(requirements, 0.05)
    size, reach = requirements.layer.size, np.full(requirements.layer.size, 4.0)

    def enough(support: tuple[int, ...]) -> bool:
        part = list(support)
        return np.isfinite(weighted_l1(matrix[:, part], missing, np.ones(len(part)), reach[part]))

    smallest = next((k for k in range(1, size + 1) if any(map(enough, combinations(range(size), k)))), None)
    if smallest is None:
        assert found.status is SolutionStatus.INFEASIBLE
        return
    assert found.cost == smallest
    assert found.bound == pytest.approx(smallest, abs=1e-6)
    assert found.delta is not None
    assert (matrix @ found.delta >= missing - 1e-5).all()
    assert np.abs(found.delta).max() <= 4.0


def test_an_l0_change_has_the_least_sizes_on_its_entries() -> None:
    requirements = required(NETWORK, labelled(NETWORK, 1))
    found = optimise(least(requirements, 0.05, norm="l0"), shared=False)
    matrix, missing = dense_rows(requirements, 0.05)
    assert found.delta is not None
    support = np.flatnonzero(found.delta)
    ones, reach = np.ones(len(support)), np.full(len(support), np.inf)
    assert np.abs(found.delta).sum() == pytest.approx(
        weighted_l1(matrix[:, support], missing, ones, reach), rel=1e-5
    )


@pytest.mark.parametrize("norm", ["l1", "relative-l1"])
@pytest.mark.parametrize("reach", [np.inf, 0.4])
def test_weights_and_reach_agree_with_scipy(norm: str, reach: float) -> None:
    requirements = required(NETWORK, labelled(NETWORK, 2, 3))
    layer = requirements.layer
    weights = np.random.default_rng(1).uniform(0.5, 3, layer.size)
    max_change = None if np.isinf(reach) else reach
    problem = least(requirements, 0.01, norm=norm, weights=weights, max_change=max_change)
    found = optimise(problem, shared=False)
    stored = np.concatenate([p.stored.ravel() for p in layer.parameters]).astype(np.float64)
    sizes = [np.maximum(np.abs(p.stored), 0.01 * np.abs(p.stored).mean()).ravel() for p in layer.parameters]
    total = weights / np.concatenate(sizes) if norm != "l1" else weights
    rounding = np.finfo(np.float32).eps * (np.abs(stored) + (0 if np.isinf(reach) else reach))
    matrix, missing = dense_rows(requirements, 0.01)
    expected = weighted_l1(matrix, missing, total, reach - rounding)
    assert found.cost == pytest.approx(expected, rel=1e-5) if np.isfinite(expected) else np.isinf(found.cost)


@pytest.mark.parametrize("norm", AIM_NORMS)
def test_every_norm_repairs_and_proves(norm: str) -> None:
    rows = np.array([[-1.0, 0.0, 0.0]])
    worst = NETWORK(np.random.default_rng(0).uniform(-1, 1, (2000, 2)))[:, 0].max()
    unsafe = Conjunction(rows, np.zeros((1, 2)), np.array([-0.9 * worst]))
    prop = Property((Region(-np.ones(2), np.ones(2), (unsafe,)),), 2, 3)
    fix = repair_property(NETWORK, prop, norm=norm, gap=0.1, limits=LIMITS)
    assert fix.status is RepairStatus.REPAIRED
    assert fix.norm == norm
    assert fix.edit is not None
    assert fix.network is not None
    assert fix.cost is not None
    assert 0 < fix.lower_bound <= fix.cost * (1 + 1e-9)
    points = np.random.default_rng(1).uniform(-1, 1, (5000, 2)).astype(np.float32).astype(np.float64)
    assert (prop.violation(points, replay(fix.network, points)) < 0).all()
    if norm == "l0":
        assert fix.cost == fix.edit.count == 1


@pytest.mark.parametrize("given", [0.5, "300%"])
def test_what_is_written_stays_within_the_reach(given: float | str) -> None:
    points = labelled(NETWORK, 1)
    fix = repair_property(
        NETWORK, box_that_holds(), points=points, max_change=given, norm="linf", gap=0.3, limits=LIMITS
    )
    assert fix.edit is not None
    for change in fix.edit.changes:
        allowed = 0.5 if given == 0.5 else 3.0 * np.abs(change.old.astype(np.float64))
        assert (np.abs(change.difference) <= allowed).all()


def box_that_holds() -> Property:
    """A property that no change of reasonable size breaks."""
    never = Conjunction(np.array([[1.0, 0, 0]]), np.zeros((1, 2)), np.array([-1e6]))
    return Property((Region(-np.ones(2), np.ones(2), (never,)),), 2, 3)


def test_too_small_a_reach_is_infeasible() -> None:
    fix = repair_property(
        NETWORK, box_that_holds(), points=labelled(NETWORK, 3), max_change=1e-6, limits=LIMITS
    )
    assert fix.status is RepairStatus.INFEASIBLE


def test_weights_may_be_given_by_tensor() -> None:
    layer = find_layer(NETWORK)
    arrays = {p.source.tensor: np.full(p.stored.shape, 2.0 + k) for k, p in enumerate(layer.parameters)}
    weights = objective_for(layer, Aim(weights=arrays)).weights
    np.testing.assert_array_equal(weights, np.repeat([2.0, 3.0], [18, 3]))


REFUSED = {
    "shape": ({"weights": np.ones(5)}, r"weights has shape \[5\], expected one number, 21 numbers"),
    "tensor": ({"weights": {"W9": 1.0}}, r"unknown: \['W9'\], missing: \['W1', 'b1'\]"),
    "tensor shape": ({"weights": {"W1": np.ones((2, 2)), "b1": 1.0}}, r"weights\['W1'\] has shape \[2, 2\]"),
    "sign": ({"weights": -1.0}, "must be positive and finite"),
    "negative": ({"max_change": -0.1}, r"max_change must be at least 0 for every entry, got -0.1"),
    "nan": ({"max_change": np.nan}, "max_change must be at least 0"),
    "text": ({"max_change": "much"}, "'much' is neither a number nor a share"),
    "l0 unbounded": ({"norm": "l0", "max_change": np.inf}, "needs a finite max_change"),
    "norm": ({"norm": "relative-l0"}, "unknown norm 'relative-l0': choose one of l0"),
    "penalty": ({"keep_penalty": 0.0}, "must be positive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_misuse_is_named(name: str) -> None:
    arguments, message = REFUSED[name]
    with pytest.raises(EditError, match=message):
        objective_for(find_layer(NETWORK), Aim(**arguments))


@pytest.mark.parametrize(("solver", "norm"), [("projection", "l1"), ("projection", "l0"), ("z3", "l2")])
def test_a_solver_that_cannot_is_refused_with_those_that_can(solver: str, norm: str) -> None:
    with pytest.raises(SolverCapabilityError, match=f"{solver!r} cannot minimise the norm {norm!r}.*highs"):
        check_solver(solver, objective_for(find_layer(NETWORK), Aim(norm)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("penalty", [1e-3, 0.2, 1e3])
def test_soft_points_are_paid_for(seed: int, penalty: float) -> None:
    """min ||d||_1 + penalty * sum of what each kept point's worst row lacks, against scipy."""
    network = dense_network(seed, (2, 4, 3))
    x = np.random.default_rng(seed).uniform(-2, 2, size=(12, 2)).astype(np.float32).astype(np.float64)
    requirements = Requirements(network, find_layer(network))
    wrong = PointSet(x[:3], (network(x[:3]).argmax(axis=1) + 1) % 3)
    add_points(requirements, Property((), 2, 3), wrong, PointSet(x[3:]), "max", penalty)
    found = optimise(least(requirements, 0.0), shared=False)
    size = requirements.layer.size
    soft = [g for g in requirements.groups.values() if np.isfinite(g.penalty)]
    total = sum(len(g.slack) for g in soft)
    rows, sides, place = [], [], 0
    for group in requirements.groups.values():
        gradient = requirements.layer.gradient(group.hidden, group.readout)
        for p, block in enumerate(gradient):
            own = np.zeros((len(block), total))
            if np.isfinite(group.penalty):
                own[:, place] = 1.0
                place += 1
            rows.append(np.hstack([block, -block, own]))
            sides.append(-group.slack[p])
    cost = np.concatenate([np.ones(2 * size), np.full(total, penalty)])
    answer = linprog(cost, -np.concatenate(rows), -np.concatenate(sides))
    if answer.status != 0:
        assert found.status is SolutionStatus.INFEASIBLE
        return
    assert found.cost == pytest.approx(answer.fun, rel=1e-4)
    assert found.bound == pytest.approx(answer.fun, rel=1e-4)


def test_many_rows_are_solved_by_the_interior_point_method_to_the_same_optimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requirements = required(NETWORK, labelled(NETWORK, 2, 3))
    plain = optimise(least(requirements, 0.01), shared=False)
    monkeypatch.setattr(reduced, "MANY", 0)
    used: list[object] = []
    solver = get_solver("highs")

    def watched(program: Program, name: str, *, options: object = None, **limits: Any) -> Solution:
        used.append(options)
        if options is not None and len(used) == 1:
            raise SolverError("cannot tell")
        return solver.solve(program, options=options, **limits)

    monkeypatch.setattr(reduced, "solve", watched)
    found = optimise(least(requirements, 0.01), shared=False)
    assert used[:2] == [reduced.CROSSED, None]
    assert found.cost == pytest.approx(plain.cost, rel=1e-6)


def test_only_unknowns_that_rows_touch_become_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    network = dense_network(0, (4, 30, 40))
    requirements = required(network, labelled(network, 5))
    columns: list[int] = []
    solver = get_solver("highs")

    def watched(program: Program, name: str, **limits: Any) -> Solution:
        columns.append(program.n_columns)
        return solver.solve(program, **limits)

    monkeypatch.setattr(reduced, "solve", watched)
    problem = least(requirements, 0.01)
    found = optimise(problem, shared=False)
    assert found.status is SolutionStatus.OPTIMAL
    assert requirements.layer.size == 31 * 40
    assert max(columns) <= 2 * 31 * 2 * problem.rows_used < 2 * requirements.layer.size * 2
    values = requirements.all_values(np.zeros(requirements.layer.size))
    for name, group in requirements.groups.items():
        np.testing.assert_array_equal(values[name], group.slack)
