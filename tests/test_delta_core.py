"""Contradictions: proved, irreducible, also through ties and disjunctions, and told in sentences."""

from __future__ import annotations

import numpy as np
import pytest
import z3
from delta_networks import dense_network

import repairsolver as rs
from layerwise.smt import rational
from repairsolver.network import Network
from repairsolver.network.forward import activations
from repairsolver.property import PointSet
from repairsolver.property.specification import Conjunction, Property, Region
from repairsolver.repairing.delta.core import Contradiction, find_core
from repairsolver.repairing.delta.layer import find_layer
from repairsolver.repairing.delta.points import add_points
from repairsolver.repairing.delta.requirements import Requirements


def crowded(seed: int, count: int = 12, sizes: tuple[int, ...] = (2, 2, 3)) -> tuple[Network, PointSet]:
    """More points with random labels than two features and a bias can tell apart."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (count, sizes[0])).astype(np.float32).astype(np.float64)
    return dense_network(seed, sizes), PointSet(x, rng.integers(0, sizes[-1], count))


def required(network: Network, points: PointSet | None, prop: Property | None = None) -> Requirements:
    requirements = Requirements(network, find_layer(network))
    nothing = Property((), network.input_size, network.output_size)
    add_points(requirements, prop or nothing, points, None, "max")
    return requirements


def exactly_possible(requirements: Requirements, members: list[tuple[str, int, int]], reach: float) -> bool:
    """Whether the members can all be met, in rational arithmetic.

    By 1e-9, because slacks carry rounding: all weights at zero meet every order of outputs with equality.
    """
    unknowns = [z3.Real(f"d{i}") for i in range(requirements.layer.size)]
    solver = z3.Solver()
    if np.isfinite(reach):
        solver.add(*(z3.And(d <= rational(reach), d >= -rational(reach)) for d in unknowns))
    for name, point, row in members:
        group = requirements.groups[name]
        options = []
        for index in range(group.slack.shape[1]) if row < 0 else [row]:
            gradient = requirements.gradient(group, point, index)
            terms = [rational(float(g)) * d for g, d in zip(gradient, unknowns, strict=True) if g != 0]
            options.append(z3.Sum([*terms, rational(float(group.slack[point, index]))]) >= 1e-9)
        solver.add(z3.Or(*options))
    return bool(solver.check() == z3.sat)


@pytest.mark.parametrize("reach", [np.inf, 0.5])
@pytest.mark.parametrize("seed", range(6))
def test_a_core_is_contradictory_and_irreducible_in_exact_arithmetic(seed: int, reach: float) -> None:
    network, points = crowded(seed)
    requirements = required(network, points)
    contradiction = Contradiction(requirements, reach)
    members = contradiction.core()
    everything = [
        (name, p, r)
        for name, g in requirements.groups.items()
        for p in range(len(g.slack))
        for r in range(g.slack.shape[1])
    ]
    assert (members is None) == exactly_possible(requirements, everything, reach)
    if members is None:
        return
    assert not exactly_possible(requirements, list(members), reach)
    for left_out in members:
        assert exactly_possible(requirements, [m for m in members if m != left_out], reach)


def one_of_two(network: Network, points: np.ndarray, bounds: np.ndarray) -> Property:
    """At each point its own region: y0 <= bound and y1 <= bound is unsafe, and so are y0, y1 >= bound."""
    n, m = network.input_size, network.output_size
    rows, none = np.eye(m)[:2], np.zeros((2, n))
    regions = []
    for x, d in zip(points, bounds, strict=True):
        low, high = Conjunction(rows, none, np.array([d, d])), Conjunction(-rows, none, np.array([-d, -d]))
        regions.append(Region(x, x, (low, high)))
    return Property(tuple(regions), n, m)


@pytest.mark.parametrize("seed", range(4))
def test_disjunctions_are_branched_on(seed: int) -> None:
    """Random choices over one feature, against z3; with the core irreducible."""
    rng = np.random.default_rng(seed)
    network = dense_network(seed, (1, 1, 2))
    x = rng.uniform(-2, 2, (5, 1)).astype(np.float32).astype(np.float64)
    requirements = Requirements(network, find_layer(network))
    requirements.forbid(one_of_two(network, x, rng.uniform(-5, 5, 5)), x)
    contradiction = Contradiction(requirements, 1.0)
    everything = [(name, p, -1) for name, g in requirements.groups.items() for p in range(len(g.slack))]
    members = contradiction.core()
    assert (members is None) == exactly_possible(requirements, everything, 1.0)
    for left_out in members or ():
        assert exactly_possible(requirements, [m for m in members or () if m != left_out], 1.0)


def test_a_tie_is_no_repair() -> None:
    """y0 <= y1 and y1 <= y0 are both unsafe: equality is the best that there is."""
    network = dense_network(0, (2, 6, 3))
    row, none = np.array([[1.0, -1.0, 0.0]]), np.zeros((1, 2))
    both = tuple(Conjunction(sign * row, none, np.zeros(1)) for sign in (1.0, -1.0))
    prop = Property((Region(-np.ones(2), np.ones(2), both),), 2, 3)
    requirements = Requirements(network, find_layer(network))
    requirements.forbid(prop, np.array([[0.5, 0.25]]))
    core = find_core(requirements, np.inf, None, None)
    assert core is not None
    assert core.ties
    assert core.same
    assert len(core.demands) == 2
    assert "equality, which is not enough" in str(core)
    assert "the counterexample [0.5, 0.25] must not violate region 1, conjunction 1" in str(core)


def test_opposite_orders_are_told_as_such() -> None:
    """Two inputs that no neuron tells apart get different labels."""
    network = dense_network(3, (2, 2, 2))
    grid = np.random.default_rng(0).uniform(-3, 3, (4000, 2)).astype(np.float32).astype(np.float64)
    hidden, _ = find_layer(network).points(network, grid)
    dead = grid[(hidden == 0).all(axis=1)]
    assert len(dead) >= 2
    points = PointSet(np.stack([grid[0], dead[0], grid[1], dead[1]]), np.array([0, 0, 0, 1]))
    core = find_core(required(network, points), np.inf, points, None)
    assert core is not None
    assert {(d.index, d.label, d.beats) for d in core.demands} == {(1, 0, 1), (3, 1, 0)}
    assert core.sentences()[0] == "points[1] and points[3] ask for opposite orders at the same features."
    assert "points[3] must decide 1 and not 0." in core.sentences()


def test_what_is_possible_has_no_core_and_no_time_gives_none() -> None:
    network, points = crowded(0, 2)
    assert find_core(required(network, points), np.inf, points, None) is None
    network, points = crowded(0, 12)
    assert find_core(required(network, points), np.inf, points, None) is not None
    assert find_core(required(network, points), np.inf, points, None, seconds=0.0) is None


def test_soft_points_contradict_nothing() -> None:
    network, points = crowded(0, 12)
    requirements = Requirements(network, find_layer(network))
    add_points(requirements, Property((), 2, 3), None, points, "max", 1.0)
    assert find_core(requirements, np.inf, None, points) is None


def test_what_no_chosen_number_moves_contradicts_by_itself() -> None:
    """Only the weights of a neuron that is inactive at all points may change."""
    points = PointSet(np.array([[0.25], [0.5]]), np.array([0, 1]))
    networks = (dense_network(seed, (1, 1, 2)) for seed in range(50))
    network = next(net for net in networks if (activations(net, points.inputs)["h0"] == 0).all())
    fix = rs.repair(
        network, Property((), 1, 2), points=points, mask={"W1": np.ones((2, 1), dtype=bool)},
        limits=rs.Limits(seconds=20),
    )  # fmt: skip
    assert fix.status is rs.RepairStatus.INFEASIBLE
    assert fix.core is not None
    assert len(fix.core.demands) == 1
