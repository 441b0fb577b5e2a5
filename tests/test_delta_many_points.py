"""Thousands of rows: columns priced in against scipy, and what is left when the time is up."""

from __future__ import annotations

import time

import numpy as np
import pytest
from delta_networks import conv_network, dense_network
from scipy import sparse
from scipy.optimize import linprog
from test_delta_objective import labelled, required

from repairsolver.network import Network
from repairsolver.property import PointSet
from repairsolver.repairing.delta import priced, program
from repairsolver.repairing.delta.branching import optimise
from repairsolver.repairing.delta.mending import Wanted, mended
from repairsolver.repairing.delta.objective import Aim, objective_for
from repairsolver.repairing.delta.priced import PricedProgram
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus


def scipy_least(matrix: Array, missing: Array, weights: Array, reach: Array) -> float:
    cost, limit = np.concatenate([weights, weights]), np.concatenate([reach, reach])
    bounds = [(0, r) for r in limit]
    answer = linprog(cost, -np.hstack([matrix, -matrix]), -missing, bounds=bounds)
    return float(answer.fun) if answer.status == 0 else np.inf


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("reach", [np.inf, 0.3])
def test_priced_columns_reach_the_optimum_of_all(seed: int, reach: float) -> None:
    """Rows come in three calls; the bound is the optimum, too."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(30, 80)) * (rng.random((30, 80)) < 0.5)
    missing, weights = rng.normal(size=30) + 0.5, rng.uniform(0.5, 2, 80)
    reaches = np.full(80, reach)
    growing = PricedProgram(weights, reaches)
    for rows in (5, 17, 30):
        found = growing.solve(sparse.csr_array(matrix[:rows]), missing[:rows], None)
        wanted = scipy_least(matrix[:rows], missing[:rows], weights, reaches)
        assert found.status is SolutionStatus.OPTIMAL
        assert found.delta is not None
        assert (matrix[:rows] @ found.delta >= missing[:rows] - 1e-6).all()
        assert (np.abs(found.delta) <= reach + 1e-7).all()
        assert weights @ np.abs(found.delta) == pytest.approx(wanted, rel=1e-6)
        assert found.bound == pytest.approx(wanted, rel=1e-6)
    assert len(growing.columns) < 80 or reach < 1


def test_programs_go_on_from_their_last_basis() -> None:
    """One more row costs few simplex iterations, a program from scratch many."""
    rng = np.random.default_rng(3)
    matrix, missing = rng.normal(size=(61, 300)), rng.normal(size=61) + 1.0
    warm = PricedProgram(np.ones(300), np.full(300, np.inf))
    warm.solve(sparse.csr_array(matrix[:60]), missing[:60], None)
    before = warm.iterations
    again = warm.solve(sparse.csr_array(matrix), missing, None)
    cold = PricedProgram(np.ones(300), np.full(300, np.inf))
    fresh = cold.solve(sparse.csr_array(matrix), missing, None)
    assert again.bound == pytest.approx(fresh.bound, rel=1e-6)
    assert warm.iterations - before < 0.5 * cold.iterations


def test_rows_out_of_reach_are_seen() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(10, 20))
    small = PricedProgram(np.ones(20), np.full(20, 1e-3))
    found = small.solve(sparse.csr_array(matrix), np.ones(10), None)
    assert found.status is SolutionStatus.INFEASIBLE
    assert found.delta is None


@pytest.mark.parametrize("seed", range(3))
def test_multipliers_of_any_program_bound_the_whole(seed: int) -> None:
    """With the time up after one program, what it proves is at most the optimum."""
    rng = np.random.default_rng(seed)
    matrix, missing = rng.normal(size=(60, 400)), rng.normal(size=60) + 1.0
    growing = PricedProgram(np.ones(400), np.full(400, np.inf))
    wanted = scipy_least(matrix, missing, np.ones(400), np.full(400, np.inf))
    for seconds in (0.0, 1e-3, 3e-3, 1e-2):
        found = growing.solve(sparse.csr_array(matrix), missing, seconds)
        assert 0 <= found.bound <= wanted * (1 + 1e-9)


def many(count: int) -> tuple[Network, PointSet]:
    """A layer of 10 x 60 numbers, and points whose second best label is wanted of a few."""
    network = dense_network(0, (60, 10))
    inputs = np.random.default_rng(1).normal(size=(count, 60)).astype(np.float32).astype(np.float64)
    order = network(inputs).argsort(axis=1)
    labels = order[:, -1].copy()
    labels[: count // 20] = order[: count // 20, -2]
    return network, PointSet(inputs, labels)


def planted_labels(count: int) -> tuple[Network, PointSet, Array]:
    """A layer of 10 x 60 numbers, points with the labels of a changed one, none near a border; the change."""
    rng, network = np.random.default_rng(1), dense_network(0, (60, 10))
    inputs = rng.normal(size=(count, 60)).astype(np.float32).astype(np.float64)
    layer = required(network, PointSet(inputs[:1], np.zeros(1, dtype=np.int64))).layer
    delta = np.asarray(0.1 * rng.normal(size=layer.size))
    hidden, scores = layer.points(network, inputs)
    ranked = np.sort(changed := scores + layer.effect(hidden, delta), axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 0.01
    return network, PointSet(inputs[clear], changed[clear].argmax(axis=1)), delta


def problem(requirements: Requirements, deadline: float | None = None) -> LeastChange:
    return LeastChange(requirements, 1e-3, objective_for(requirements.layer, Aim()), "highs", deadline)


def test_a_repair_with_priced_columns_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    network, points = many(200)
    requirements = required(network, points)
    plain = optimise(problem(requirements), shared=False)
    monkeypatch.setattr(program, "MANY", 10)
    monkeypatch.setattr(priced, "MANY", 10)
    used: list[int] = []
    solve = PricedProgram.solve

    def counted(self: PricedProgram, *arguments: object) -> object:
        used.append(len(self.columns))
        return solve(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PricedProgram, "solve", counted)
    found = optimise(problem(requirements), shared=False)
    assert used
    assert found.cost == pytest.approx(plain.cost, rel=1e-6)
    assert found.bound == pytest.approx(plain.bound, rel=1e-6)


def test_the_time_is_up_with_a_change_and_a_bound() -> None:
    """90,000 rows in a second: every row holds, and cost and bound enclose what is known of the optimum."""
    network, points, planted = planted_labels(10_000)
    requirements = required(network, points)
    assert min(rows.min() for rows in requirements.all_values(planted).values()) > 1e-3
    late = optimise(problem(requirements, time.perf_counter() + 1.0), shared=False)
    assert late.status in (SolutionStatus.FEASIBLE, SolutionStatus.TIMEOUT)
    assert 0 <= late.bound <= np.abs(planted).sum()
    if late.delta is not None:
        assert late.cost >= late.bound
        assert min(rows.min() for rows in requirements.all_values(late.delta).values()) > 0


@pytest.mark.parametrize("network", [dense_network(3, (8, 20, 4)), conv_network(1)])
def test_mending_meets_every_row(network: Network) -> None:
    requirements = required(network, labelled(network, 3))
    groups = requirements.groups
    reach = np.full(requirements.layer.size, np.inf)
    needs = {name: group.need(0.1) for name, group in groups.items()}
    forced = {name: np.ones(group.slack.shape, dtype=bool) for name, group in groups.items()}
    wanted = Wanted(requirements, needs, forced, reach)
    found = mended(wanted, np.zeros(requirements.layer.size), time.perf_counter() + 20)
    assert found is not None
    worst = max(float(short.max()) for short in wanted.short(found).values())
    assert worst == pytest.approx(0.0, abs=1e-7)  # the share of the way after which the last row just holds
    assert np.array_equal(mended(wanted, 2 * found, time.perf_counter() + 20), 2 * found) or worst > -1e-6
    small = Wanted(requirements, needs, forced, np.full_like(reach, 1e-6))
    assert mended(small, np.zeros_like(reach), time.perf_counter() + 20) is None
