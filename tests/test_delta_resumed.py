"""Least changes that go on from the last one have the same answers as from scratch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from delta_networks import dense_network
from test_delta_constraints import not_largest, requirements_of, violating
from test_delta_objective import LIMITS, NETWORK, NOWHERE, labelled, required

from repairsolver.property import PointSet
from repairsolver.repairing import repair_property
from repairsolver.repairing.delta import method, resumed
from repairsolver.repairing.delta.branching import optimise
from repairsolver.repairing.delta.objective import Aim, objective_for
from repairsolver.repairing.delta.points import add_points
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.delta.resumed import Resumed
from repairsolver.results import Limits, RepairStatus
from repairsolver.solvers import Feature, SolutionStatus, available_solvers, get_solver

RESUMING = [name for name in available_solvers() if Feature.LAST_BASIS in get_solver(name).features]
KEEPING = [name for name in ("z3", "pulp", "pulp:HiGHS") if name.partition(":")[0] in available_solvers()]
"""Solvers that keep constraints, and no basis."""


def pair(
    requirements: Requirements, margin: float, kept: Resumed, solver: str, **aim: Any
) -> tuple[LeastChange, LeastChange]:
    """The same problem from scratch, and going on."""
    objective = objective_for(requirements.layer, Aim(**aim))
    fresh = LeastChange(requirements, margin, objective, solver)
    return fresh, LeastChange(requirements, margin, objective, solver, resumed=kept)


@pytest.mark.parametrize("solver", RESUMING)
@pytest.mark.parametrize("norm", ["l1", "linf", "relative-l1", "l0"])
def test_rounds_with_more_points_and_other_margins(norm: str, solver: str) -> None:
    kept, aim = Resumed(solver), {"norm": norm} | ({"max_change": 4.0} if norm == "l0" else {})
    counts, margins = (2, 4, 4, 3) if norm == "l0" else (2, 5, 5, 8, 3), (0.05, 0.05, 0.4, 0.0, 0.02)
    for count, margin in zip(counts, margins, strict=False):
        problems = pair(required(NETWORK, labelled(NETWORK, count, 3)), margin, kept, solver, **aim)
        cold, warm = (optimise(problem, shared=False) for problem in problems)
        assert warm.status is cold.status
        assert warm.cost == pytest.approx(cold.cost, rel=1e-6)
        assert warm.bound == pytest.approx(cold.bound, rel=1e-5)


@pytest.mark.parametrize("solver", RESUMING)
def test_nodes_of_disjunctions(solver: str) -> None:
    """Rows that a node does not force lose their side; choices differ from node to node."""
    network, kept = dense_network(2, (2, 6, 4)), Resumed(solver)
    label = next(k for k in range(4) if len(violating(network, not_largest(network, k), 8)) == 8)
    prop = not_largest(network, label)
    for count in (3, 6, 8):
        requirements = requirements_of(network, prop, violating(network, prop, count))
        for shared in (True, False):
            cold, warm = (optimise(p, shared=shared) for p in pair(requirements, 0.02, kept, solver))
            assert warm.status is cold.status is SolutionStatus.OPTIMAL
            assert warm.cost == pytest.approx(cold.cost, rel=1e-5)
            assert warm.nodes > 1 or cold.nodes == 1


def test_soft_points_pay_their_own_shortfall() -> None:
    kept = Resumed("highs")
    for count in (2, 5, 5):
        requirements = required(NETWORK, labelled(NETWORK, count, 1))
        points = PointSet(np.random.default_rng(count).uniform(-2, 2, (20, 2)))
        add_points(requirements, NOWHERE, None, points, "max", 0.3)
        cold, warm = (optimise(p, shared=False) for p in pair(requirements, 0.05, kept, "highs"))
        assert warm.cost == pytest.approx(cold.cost, rel=1e-6)
        assert warm.bound == pytest.approx(cold.bound, rel=1e-6)


def test_idle_rows_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumed, "FEW", 0)
    monkeypatch.setattr(resumed, "IDLE", 2)
    kept = Resumed("highs")
    for seed in range(6):
        cold, warm = (
            optimise(p, shared=False)
            for p in pair(required(NETWORK, labelled(NETWORK, 2, seed)), 0.05, kept, "highs")
        )
        assert warm.cost == pytest.approx(cold.cost, rel=1e-6)
        assert all(len(program.places) <= 2 * 8 for program in kept.programs)


def test_margins_far_apart_have_programs_of_their_own() -> None:
    kept, requirements = Resumed("highs"), required(NETWORK, labelled(NETWORK, 3))
    for margin in (1e4, 0.0, 1e8, 1e4):
        cold, warm = (optimise(p, shared=False) for p in pair(requirements, margin, kept, "highs"))
        assert warm.cost == pytest.approx(cold.cost, rel=1e-6)
    assert 1 < len(kept.programs) <= resumed.PROGRAMS


@pytest.mark.parametrize("solver", RESUMING)
def test_repairs_are_the_same_with_and_without(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a region, with many rounds: cost, bound and proof."""
    network = dense_network(4, (2, 8, 3))
    label = next(k for k in range(3) if len(violating(network, not_largest(network, k), 1)))
    prop = not_largest(network, label)

    def repair() -> Any:
        return repair_property(
            network, prop, solver=solver, limits=Limits(seconds=None, rounds=30), margin=0.05
        )

    warm = repair()
    monkeypatch.setattr(method, "Resumed", lambda *arguments: None)
    cold = repair()
    assert warm.status is cold.status is RepairStatus.REPAIRED
    assert warm.cost == pytest.approx(cold.cost, rel=1e-5)
    assert warm.lower_bound == pytest.approx(cold.lower_bound, rel=1e-5)


@pytest.mark.parametrize("solver", KEEPING)
def test_solvers_that_keep_constraints_alone(solver: str) -> None:
    """Rows come, lose their side with a smaller margin or fewer points, and come back."""
    kept = Resumed(solver)
    for count, margin in ((2, 0.05), (4, 0.05), (2, 0.05), (4, 0.02), (4, 0.05)):
        problems = pair(required(NETWORK, labelled(NETWORK, count, 3)), margin, kept, solver)
        cold, warm = (optimise(problem, shared=False) for problem in problems)
        assert warm.status is cold.status is SolutionStatus.OPTIMAL
        assert warm.cost == pytest.approx(cold.cost, rel=1e-6)
    assert sum(program.solver.resumed for program in kept.programs) > 0  # type: ignore[attr-defined]


def test_a_repair_says_once_that_its_programs_begin_anew() -> None:
    for solver, said in (("highs", 0), ("pulp", 1), ("z3", 1)):
        fix = repair_property(NETWORK, NOWHERE, points=labelled(NETWORK, 2), solver=solver, limits=LIMITS)
        told = [remark for remark in fix.remarks if "no basis" in remark]
        assert len(told) == said
        assert all(repr(solver) in remark for remark in told)


def test_solvers_without_a_memory_repair_as_before() -> None:
    assert not Resumed("projection").suits(
        objective_for(required(NETWORK, labelled(NETWORK, 1)).layer, Aim())
    )
    points = labelled(NETWORK, 2)
    fixes = [
        repair_property(NETWORK, NOWHERE, points=points, solver=s, limits=LIMITS) for s in ("z3", "highs")
    ]
    assert fixes[0].cost == pytest.approx(fixes[1].cost, rel=1e-3)
