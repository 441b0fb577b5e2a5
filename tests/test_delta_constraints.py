"""Least changes over finitely many points: closed forms, brute force over all choices, all solvers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from delta_networks import dense_network
from scipy.optimize import linprog

from layerwise.norm import NORMS
from layerwise.output import some_row_reached
from layerwise.program import Program
from repairsolver.errors import EditError, PointSetError
from repairsolver.network import Network, replay
from repairsolver.property import PointSet
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing.delta.branching import optimise
from repairsolver.repairing.delta.layer import find_layer
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.points import add_points
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.solvers import Feature, SolutionStatus, available_solvers, get_solver, solve

NORM_NAMES = ("l1", "l2", "linf")
DUAL = {"l1": np.inf, "l2": 2, "linf": 1}


def not_largest(network: Network, label: int, radius: float = 2.0) -> Property:
    """Unsafe where output `label` is the largest: one conjunction of m - 1 rows."""
    m, n = network.output_size, network.input_size
    rows = np.delete(np.eye(m), label, axis=0) - np.eye(m)[label]
    conjunction = Conjunction(rows, np.zeros((m - 1, n)), np.zeros(m - 1))
    return Property((Region(np.full(n, -radius), np.full(n, radius), (conjunction,)),), n, m)


def violating(network: Network, prop: Property, count: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(-2, 2, size=(4000, network.input_size))
    points = points.astype(np.float32).astype(np.float64)
    return points[prop.violation(points, replay(network, points)) > 0][:count]


def requirements_of(network: Network, prop: Property, points: np.ndarray) -> Requirements:
    requirements = Requirements(network, find_layer(network))
    requirements.forbid(prop, points)
    return requirements


def least(requirements: Requirements, norm: str, solver: str, margin: float = 0.0) -> LeastChange:
    return LeastChange(requirements, margin, Objective(norm), solver)


def capable(norm: str) -> list[str]:
    """The usable solvers for programs of this norm with bounded columns."""
    needs = {Feature.QUADRATIC} if NORMS[norm].quadratic else set()
    return [name for name in available_solvers() if get_solver(name).features >= needs]


@pytest.mark.parametrize("solver", available_solvers())
@pytest.mark.parametrize("norm", NORM_NAMES)
def test_one_point_one_row_has_the_closed_form(norm: str, solver: str) -> None:
    """min ||d|| with g d >= t has the value t / ||g||_*, * the dual norm."""
    if solver not in capable(norm):
        pytest.skip(f"{solver} has no quadratic objective")
    if solver == "projection" and norm != "l2":
        pytest.skip("projection is for least norms in L2")
    network = dense_network(0, (2, 5, 2))
    label = 0 if len(violating(network, not_largest(network, 0), 1)) else 1
    prop = not_largest(network, label)
    requirements = requirements_of(network, prop, violating(network, prop, 1))
    (group,) = requirements.groups.values()
    gradient = requirements.gradient(group, 0, 0)
    expected = -float(group.slack[0, 0]) / np.linalg.norm(gradient, ord=DUAL[norm])
    found = optimise(least(requirements, norm, solver), shared=False)
    assert found.status is SolutionStatus.OPTIMAL
    assert found.cost == pytest.approx(expected, rel=1e-5)
    assert found.bound <= found.cost * (1 + 1e-9)


def brute_force(requirements: Requirements, margin: float, *, shared: bool) -> float:
    """The L1 optimum by one linear program for every choice of rows."""
    (group,) = requirements.groups.values()
    points, rows = group.slack.shape
    size = requirements.layer.size
    best = np.inf
    for choice in product(range(rows), repeat=1 if shared else points):
        chosen = [choice[0]] * points if shared else list(choice)
        matrix = np.stack([requirements.gradient(group, p, r) for p, r in enumerate(chosen)])
        need = [group.need(margin)[p] - group.slack[p, r] for p, r in enumerate(chosen)]
        answer = linprog(np.ones(2 * size), -np.hstack([matrix, -matrix]), -np.array(need))
        best = min(best, answer.fun) if answer.status == 0 else best
    return float(best)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shared", [True, False])
def test_branching_finds_the_optimum_of_all_choices(seed: int, shared: bool) -> None:
    network = dense_network(seed, (2, 5, 4))
    prop = not_largest(network, int(network(np.zeros(2)).argmax()))
    requirements = requirements_of(network, prop, violating(network, prop, 4))
    found = optimise(least(requirements, "l1", "highs", 0.05), shared=shared)
    assert found.cost == pytest.approx(brute_force(requirements, 0.05, shared=shared), rel=1e-5)
    assert found.bound == pytest.approx(found.cost, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_branching_equals_binaries(norm: str, seed: int) -> None:
    network = dense_network(seed, (2, 5, 4))
    prop = not_largest(network, int(network(np.zeros(2)).argmax()))
    requirements = requirements_of(network, prop, violating(network, prop, 8))
    found = optimise(least(requirements, norm, "highs"), shared=False)
    (group,) = requirements.groups.values()
    program = Program()
    limit = 2 * found.cost
    delta = NORMS[norm].minimise(program, requirements.layer.size, lower=-limit, upper=limit)
    matrix = requirements.layer.gradient(group.hidden, group.readout).reshape(-1, requirements.layer.size)
    value = matrix @ delta + group.slack.ravel()
    some_row_reached(program, value, np.zeros(len(value)), group=group.slack.shape[1])
    assert found.cost == pytest.approx(solve(program).objective, rel=1e-5)


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_exact_rationals_agree(norm: str) -> None:
    if "z3" not in available_solvers():
        pytest.skip("z3 is not installed")
    network = dense_network(3, (2, 3, 3))
    prop = not_largest(network, int(network(np.zeros(2)).argmax()))
    requirements = requirements_of(network, prop, violating(network, prop, 2))
    exact = optimise(least(requirements, norm, "z3", 0.01), shared=False)
    found = optimise(least(requirements, norm, "highs", 0.01), shared=False)
    assert found.cost == pytest.approx(exact.cost, rel=1e-5)


@pytest.mark.parametrize("norm", NORM_NAMES)
def test_a_known_cost_only_prunes(norm: str) -> None:
    network = dense_network(1, (2, 5, 4))
    prop = not_largest(network, int(network(np.zeros(2)).argmax()))
    requirements = requirements_of(network, prop, violating(network, prop, 6))
    free = optimise(least(requirements, norm, "highs"), shared=False)
    limited = LeastChange(requirements, 0.0, Objective(norm), "highs", limit=1.5 * free.cost)
    again = optimise(limited, shared=False, known=1.5 * free.cost)
    assert again.cost == pytest.approx(free.cost, rel=1e-4)
    assert again.bound == pytest.approx(free.cost, rel=1e-4)
    none = LeastChange(requirements, 0.0, Objective(norm), "highs", limit=0.5 * free.cost)
    below = optimise(none, shared=False, known=0.5 * free.cost)
    assert below.delta is None
    assert below.bound == pytest.approx(0.5 * free.cost)


def test_dead_hidden_layer_is_infeasible() -> None:
    """With h = 0 everywhere and no bias in reach, two rows that exclude each other have no repair."""
    network = dense_network(0, (1, 2, 2))
    n, m = 1, 2
    rows = np.array([[1.0, -1.0]])
    up = Conjunction(rows, np.zeros((1, n)), np.array([1.0]))
    down = Conjunction(-rows, np.zeros((1, n)), np.array([1.0]))
    prop = Property((Region(np.zeros(n), np.ones(n), (up, down)),), n, m)
    requirements = requirements_of(network, prop, np.array([[0.5]]))
    assert optimise(least(requirements, "l1", "highs"), shared=False).status is SolutionStatus.INFEASIBLE


def test_conjunction_without_rows_has_no_repair() -> None:
    network = dense_network(0)
    empty = Conjunction(np.zeros((0, 3)), np.zeros((0, 2)), np.zeros(0))
    prop = Property((Region(-np.ones(2), np.ones(2), (empty,)),), 2, 3)
    with pytest.raises(EditError, match="region 1, conjunction 1 has no half-spaces"):
        requirements_of(network, prop, np.zeros((1, 2)))


def test_points_are_counted_once() -> None:
    network = dense_network(0)
    prop = not_largest(network, 0)
    requirements = Requirements(network, find_layer(network))
    points = np.array([[0.5, 0.5], [1.0, -1.0], [9.0, 9.0]])
    assert requirements.forbid(prop, points) == 2
    assert requirements.forbid(prop, points) == 0


def test_labels_are_met_with_margin_and_kept_without() -> None:
    network = dense_network(4)
    x = np.random.default_rng(1).uniform(-1, 1, size=(12, 2))
    decided = network(x.astype(np.float32).astype(np.float64)).argmax(axis=1)
    points = PointSet(x[:3], (decided[:3] + 1) % 3, name="wrong")
    requirements = Requirements(network, find_layer(network))
    add_points(requirements, not_largest(network, 0), points, PointSet(x[3:], name="right"), "max")
    found = optimise(least(requirements, "l1", "highs", 0.01), shared=True)
    assert found.delta is not None
    for group in requirements.groups.values():
        reached = requirements.values(group, found.delta).min(axis=1)
        assert (reached >= (0.01 if group.strict else 0.0) - 1e-7).all()


@pytest.mark.parametrize("decision", ["max", "min"])
def test_decision_says_which_output_is_chosen(decision: str) -> None:
    network = dense_network(4)
    x = np.array([[0.25, -0.5]])
    label = getattr(network(x), f"arg{decision}")(axis=1)
    requirements = Requirements(network, find_layer(network))
    add_points(requirements, not_largest(network, 0), None, PointSet(x, label), decision)
    assert requirements.missed(network) == {}


BAD = {
    "entries": (PointSet(np.zeros((1, 5)), np.array([0]), name="p"), None, "5 entries.*2 inputs"),
    "labels": (PointSet(np.zeros((2, 2)), np.array([0, 7]), name="p"), None, r"labels of points \[1\]"),
    "outside": (PointSet(np.full((1, 2), 9.0), name="p"), None, r"points \[0\] lie in no region"),
    "contradiction": (
        PointSet(np.ones((1, 2)), np.array([0]), name="p"),
        PointSet(np.ones((1, 2)), np.array([1]), name="q"),
        r"p\[0\] \(label 0\) and q\[0\] \(label 1\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_points_are_refused(name: str) -> None:
    points, keep, message = BAD[name]
    network = dense_network(0)
    with pytest.raises(PointSetError, match=message):
        add_points(Requirements(network, find_layer(network)), not_largest(network, 0), points, keep, "max")
