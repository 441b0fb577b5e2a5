"""Solvers that go on from their last program: the same answers as from scratch, and what they save."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_solvers import knapsack, program_of

from layerwise.program import Program
from repairsolver.errors import SolverCapabilityError, SolverError
from repairsolver.solvers import (
    Feature,
    Progress,
    SolutionStatus,
    available_solvers,
    get_solver,
    session,
    solve,
)
from repairsolver.solvers.gurobi_session import GurobiSession
from repairsolver.solvers.highs_session import HighsSession

RESUMING = [name for name in available_solvers() if Feature.ROWS_ADDED in get_solver(name).features]

BASIS = [name for name in RESUMING if Feature.LAST_BASIS in get_solver(name).features]

KEEPING = [name for name in ("z3", "pulp", "pulp:HiGHS") if name.partition(":")[0] in RESUMING]
"""Solvers that keep constraints, and no basis."""

from_a_basis = pytest.mark.parametrize("solver", BASIS)

from_memory = pytest.mark.parametrize("solver", RESUMING)


def growing(rng: np.random.Generator, *, integer: bool = False):
    """Programs that share their first rows and columns, with other bounds, costs and sides each."""
    columns, rows = 8, 4
    matrix = rng.integers(-3, 4, (60, 40)).astype(float)
    for _ in range(6):
        program = Program()
        low = rng.integers(-3, 1, columns).astype(float)
        v = program.columns(columns, low, low + rng.integers(0, 6, columns), integer=integer)
        cost = rng.integers(-4, 5, (1, columns)).astype(float)
        program.minimise(cost @ v + float(rng.integers(-5, 6)))
        sides = np.where(rng.random(rows) < 0.3, -np.inf, rng.integers(-9, 1, rows).astype(float))
        program.rows(np.where(np.arange(60)[:rows, None] < rows, matrix[:rows, :columns], 0.0) @ v, sides)
        yield program
        rows += int(rng.integers(0, 4))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), integer=st.booleans())
@from_memory
def test_programs_that_grow_have_the_answers_of_fresh_ones(solver, seed, integer):
    kept = session(solver)
    for program in growing(np.random.default_rng(seed), integer=integer):
        warm, cold = kept.solve(program), solve(program, solver)
        assert warm.status is cold.status
        if cold.objective is not None:
            assert warm.objective == pytest.approx(cold.objective, abs=1e-6)
            assert warm.bound == pytest.approx(cold.bound, abs=1e-5)
    assert kept.resumed >= 1


@from_memory
def test_columns_may_come_too(solver):
    rng = np.random.default_rng(2)
    matrix, kept = rng.random((12, 30)), session(solver)
    for height, width in ((3, 10), (6, 20), (12, 30)):
        program = Program()
        v = program.columns(width, 0.0, 5.0)
        reach = np.minimum(10 * ((np.arange(height) // 3) + 1), width)  # old rows touch no new columns
        program.rows(np.where(np.arange(width) < reach[:, None], matrix[:height, :width], 0.0) @ v, 2.0)
        program.minimise(np.linspace(1, 2, width)[None] @ v)
        assert kept.solve(program).objective == pytest.approx(solve(program).objective, abs=1e-7)
    assert kept.resumed >= 1


@from_a_basis
def test_one_more_row_costs_few_iterations(solver):
    rng = np.random.default_rng(0)
    matrix, side = rng.normal(size=(61, 200)), rng.random(61) + 1.0
    kept = session(solver)
    kept.solve(program_of(np.ones(200), matrix[:60], side[:60], np.inf, 0.0, np.inf))
    first = kept.iterations
    grown = program_of(np.ones(200), matrix, side, np.inf, 0.0, np.inf)
    warm = kept.solve(grown)
    assert warm.objective == pytest.approx(solve(grown).objective, rel=1e-7)
    assert kept.iterations - first < 0.3 * first


@from_memory
def test_another_program_is_solved_from_scratch(solver):
    rng = np.random.default_rng(1)
    kept = session(solver)
    for _ in range(3):
        other = program_of(rng.random(5), rng.random((4, 5)), 1.0, np.inf, 0.0, 9.0)
        assert kept.solve(other).objective == pytest.approx(solve(other).objective, abs=1e-7)
    assert kept.resumed == 0


@from_memory
def test_rows_lose_and_regain_their_sides(solver):
    kept = session(solver)
    matrix = np.array([[1.0, 2.0], [2.0, 1.0]])
    for low, high in ((4.0, np.inf), (-np.inf, np.inf), (4.0, np.inf), (1.0, 5.0), (2.0, 2.0), (4.0, np.inf)):
        program = program_of(np.ones(2), matrix, [3.0, low], [np.inf, high], 0.0, np.inf)
        assert kept.solve(program).objective == pytest.approx(solve(program).objective, abs=1e-7)


@from_memory
def test_infeasible_and_unbounded_programs_leave_nothing_behind(solver):
    kept = session(solver)
    program = program_of([1.0, 0.0], [[1.0, 1.0]], 1.0, np.inf, 0.0, np.inf)
    assert kept.solve(program).objective == pytest.approx(0.0)
    none = program_of([1.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], [1.0, -np.inf], [np.inf, 0.5], 0.0, np.inf)
    assert kept.solve(none).status is SolutionStatus.INFEASIBLE
    endless = program_of([-1.0, 0.0], [[1.0, 1.0]], 1.0, np.inf, 0.0, np.inf)
    assert kept.solve(endless).status is SolutionStatus.UNBOUNDED
    assert kept.solve(program).objective == pytest.approx(0.0)


@from_a_basis
def test_integer_programs_start_from_the_last_solution(solver):
    """With one weak row more the last optimum is there from the beginning."""
    whole = knapsack(30)
    flat = whole.matrices()
    kept = session(solver)
    best = kept.solve(whole)
    rows, high = flat.rows.toarray(), flat.row_upper
    weak = np.ones(30), 1e3
    grown = program_of(
        flat.cost, np.vstack([rows, weak[0]]), -np.inf, np.append(high, weak[1]), 0, 1, integer=True
    )
    limit = {"highs": {"mip_max_nodes": 0}, "gurobi": {"NodeLimit": 0}}[solver]
    again = kept.solve(grown)
    assert kept.resumed == 1
    assert again.objective == pytest.approx(best.objective)
    started = solve(grown, solver, start=best.values, options=limit)
    assert started.objective == pytest.approx(best.objective)


@from_a_basis
def test_a_watch_sees_progress_and_ends_a_search(solver):
    told: list[Progress] = []

    def watch(progress: Progress) -> bool:
        told.append(progress)
        return progress.objective is not None and progress.seconds > 0.1

    answer = session(solver, watch).solve(knapsack(60), seconds=60.0)
    assert told
    assert answer.seconds < 30
    assert answer.status is SolutionStatus.FEASIBLE
    assert answer.bound <= answer.objective
    assert all(p.bound is None or p.bound <= answer.bound + 1e-6 for p in told[:1])


@from_a_basis
def test_gap_and_time_end_a_search_by_themselves(solver):
    kept = session(solver)
    loose = kept.solve(knapsack(60), gap=0.2, seconds=60.0)
    assert loose.status is SolutionStatus.OPTIMAL
    assert loose.objective - loose.bound <= 0.2 * abs(loose.objective) + 1e-6
    late = kept.solve(knapsack(60), seconds=0.3)
    assert late.status is SolutionStatus.FEASIBLE
    assert late.seconds < 20


@from_a_basis
def test_what_a_watch_raises_comes_out(solver):
    def watch(progress: Progress) -> bool:
        raise ZeroDivisionError("of the watch")

    with pytest.raises(ZeroDivisionError, match="of the watch"):
        session(solver, watch).solve(knapsack(60), seconds=20.0)


@from_memory
def test_options_are_checked(solver):
    kept = session(solver)
    program = program_of([1.0], [[1.0]], 0.5, np.inf, 0.0, 1.0)
    with pytest.raises(SolverError, match="no_such_option"):
        kept.solve(program, options={"no_such_option": 1})
    assert kept.solve(program).objective == pytest.approx(0.5)


@from_a_basis
def test_what_fails_from_the_last_basis_is_solved_from_scratch(solver, monkeypatch):
    """An answer that does not satisfy the program is not the end."""
    kind = {"highs": HighsSession, "gurobi": GurobiSession}[solver]
    kept = session(solver)
    program = program_of([1.0], [[1.0]], 0.5, np.inf, 0.0, 1.0)
    kept.solve(program)
    compute, calls = kind._compute, []

    def wrong_once(self, flat, *arguments):
        calls.append(flat)
        answer = compute(self, flat, *arguments)
        if len(calls) == 1:
            answer.values[:] = 0.0
        return answer

    monkeypatch.setattr(kind, "_compute", wrong_once)
    assert kept.solve(program).objective == pytest.approx(0.5)
    assert len(calls) == 2


@from_memory
def test_a_session_is_gone_without_a_trace(solver):
    kept = session(solver)
    kept.solve(program_of([1.0], [[1.0]], 0.5, np.inf, 0.0, 1.0))
    del kept
    gc.collect()
    assert solve(program_of([1.0], [[1.0]], 0.5, np.inf, 0.0, 1.0), solver).objective == pytest.approx(0.5)


@pytest.mark.parametrize("solver", KEEPING)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_constraints_that_go_and_come_back(solver, data):
    """One program over a pool of rows, of which every round holds some, with sides of its own."""
    whole = data.draw(st.booleans())
    number = st.integers(-3, 3).map(float)
    pool = np.array(data.draw(st.lists(st.lists(number, min_size=3, max_size=3), min_size=2, max_size=5)))
    cost, kept = np.array(data.draw(st.lists(number, min_size=3, max_size=3))), session(solver)
    for held in data.draw(st.lists(st.sets(st.integers(0, len(pool) - 1)), min_size=2, max_size=4)):
        sides = np.full(len(pool), -np.inf)
        sides[list(held)] = data.draw(st.sampled_from([-2.0, 0.0, 1.5]))
        program = program_of(cost, pool, sides, np.inf, -2.0, 2.0, integer=whole)
        warm, cold = kept.solve(program), solve(program, "highs")
        assert warm.status is cold.status
        if cold.objective is not None:
            assert warm.objective == pytest.approx(cold.objective, abs=1e-6)


@from_a_basis
def test_solvers_without_a_memory_are_what_they_were(solver):
    assert session("projection").name == "projection"
    curved = Program()
    v = curved.columns(2, 0, 1, integer=True)
    curved.rows(v.sum(), 1.0)
    curved.minimise_squares(v)
    if solver == "highs":
        with pytest.raises(SolverCapabilityError, match="integers with quadratic objective"):
            session(solver).solve(curved)
