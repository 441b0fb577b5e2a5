"""The same tests over every solver, against scipy, exact rationals and each other."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import LinearConstraint, linprog, milp, minimize

from layerwise.program import Program
from repairsolver.errors import LicenseError, SolverCapabilityError, SolverError, SolverUnavailableError
from repairsolver.solvers import (
    Feature,
    SolutionStatus,
    available_solvers,
    get_solver,
    report,
    solve,
    solve_lazily,
)
from repairsolver.solvers.bounding import lagrangian_bound
from repairsolver.solvers.driver import Answer, checked, tidy
from repairsolver.solvers.gurobi import LIMIT_LINEAR, LIMIT_QUADRATIC, licence_is_limited
from repairsolver.solvers.highs import confirm_quadratic
from repairsolver.solvers.z3 import solve_exact

USABLE = available_solvers()
LINEAR = [*(name for name in USABLE if name != "projection"), "pulp:HiGHS"]
QUADRATIC = [name for name in USABLE if Feature.QUADRATIC in get_solver(name).features]
INTEGER = [name for name in LINEAR if Feature.INTEGERS in get_solver(name).features]
WITH_BOUND = [name for name in LINEAR if Feature.DUAL_BOUND in get_solver(name).features]


def program_of(cost, matrix, low, high, lower, upper, integer=False) -> Program:
    """A program from dense arrays."""
    program = Program()
    unknowns = program.columns(len(cost), lower, upper, integer=integer)
    program.rows(np.atleast_2d(matrix) @ unknowns, low, high)
    program.minimise(np.atleast_2d(cost) @ unknowns)
    return program


def knapsack(size: int, seed: int = 0) -> Program:
    """A multi-row knapsack that takes long to prove optimal."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(5, 100, (5, size)).astype(float)
    value = weights.sum(axis=0) / 5 + rng.integers(1, 15, size)
    return program_of(-value, weights, -np.inf, weights.sum(axis=1) / 2, 0, 1, integer=True)


def random_program(seed: int, *, integer: bool) -> Program:
    """A small random program with integer coefficients; bounded columns, so never unbounded."""
    rng = np.random.default_rng(seed)
    columns, rows = rng.integers(1, 6, 2)
    matrix = rng.integers(-4, 5, (rows, columns)).astype(float)
    low = rng.integers(-8, 4, rows).astype(float)
    high = low + rng.integers(0, 8, rows)
    low[rng.random(rows) < 0.3] = -np.inf
    return program_of(
        rng.integers(-5, 6, columns), matrix, low, high, -3.0, rng.integers(0, 5, columns), integer
    )


@pytest.mark.parametrize("solver", LINEAR)
class TestLinear:
    def test_optimum_equals_scipy(self, solver):
        rng = np.random.default_rng(1)
        matrix, cost = rng.standard_normal((12, 8)), rng.standard_normal(8)
        answer = solve(program_of(cost, matrix, -np.inf, 1.0, -2.0, 3.0), solver)
        expected = linprog(cost, A_ub=matrix, b_ub=np.ones(12), bounds=(-2.0, 3.0))
        assert answer.status is SolutionStatus.OPTIMAL
        assert answer.objective == pytest.approx(expected.fun, rel=1e-7)
        assert answer.violation <= 1e-6

    def test_degenerate(self, solver):
        matrix = np.array([[1.0, 1.0], [2.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
        answer = solve(program_of([-1.0, -1.0], matrix, -np.inf, [2.0, 4.0, 3.0, 3.0], 0.0, np.inf), solver)
        assert answer.objective == pytest.approx(-2.0)

    def test_equality_rows_and_free_columns(self, solver):
        program = program_of([1.0, 2.0], [[1.0, 1.0], [1.0, -1.0]], [3.0, 1.0], [3.0, 1.0], -np.inf, np.inf)
        assert solve(program, solver).values == pytest.approx([2.0, 1.0])

    def test_range_row_binds_above(self, solver):
        assert solve(
            program_of([-1.0], [[2.0]], -4.0, 6.0, -np.inf, np.inf), solver
        ).objective == pytest.approx(-3)

    def test_infeasible_rows(self, solver):
        program = program_of([1.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], [-np.inf, 2.0], [1.0, np.inf], 0.0, 5.0)
        answer = solve(program, solver)
        assert answer.status is SolutionStatus.INFEASIBLE
        assert answer.values is None
        assert answer.objective is None

    def test_unbounded(self, solver):
        answer = solve(program_of([1.0, 0.0], [[1.0, 1.0]], 0.0, 3.0, -np.inf, np.inf), solver)
        assert answer.status is SolutionStatus.UNBOUNDED

    def test_offset(self, solver):
        program = Program()
        v = program.columns(2, 1.0, 4.0)
        program.rows(v.sum(), 3.0)
        program.minimise(v.sum() + 10.0)
        assert solve(program, solver).objective == pytest.approx(13.0)

    def test_entries_given_twice_add_up(self, solver):
        program = Program()
        v = program.columns(1, 0.0, 9.0)
        row = sparse.csr_array((np.array([1.0, 1.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 1))
        program.rows(type(v)(row, np.zeros(1)), 3.0)
        program.minimise(v)
        assert solve(program, solver).values == pytest.approx([1.5])

    def test_prints_nothing(self, solver, capfd, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        solve(program_of([1.0, 2.0], [[1.0, 1.0]], 1.0, 3.0, 0.0, 1.0, integer=True), solver)
        assert capfd.readouterr() == ("", "")
        assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize("solver", [name for name in USABLE if name != "projection"])
def test_unknown_option_raises(solver):
    program = program_of([1.0, 2.0], [[1.0, 1.0]], 0.0, 3.0, 0.0, 1.0)
    with pytest.raises(SolverError, match="option"):
        solve(program, solver, options={"no_such_option": 3})


@pytest.mark.parametrize("solver", USABLE)
class TestWithoutSolving:
    def test_empty_program(self, solver):
        answer = solve(Program(), solver)
        assert (answer.status, answer.objective) == (SolutionStatus.OPTIMAL, 0.0)

    def test_no_rows(self, solver):
        program = Program()
        v = program.columns(3, -1.0, 2.0)
        program.minimise(np.array([[1.0, -1.0, 0.0]]) @ v)
        assert solve(program, solver).objective == -3.0

    def test_row_without_entries_may_contradict(self, solver):
        program = Program()
        v = program.columns(1, 0.0, 1.0)
        program.rows(v * 0.0, 1.0)
        assert solve(program, solver).status is SolutionStatus.INFEASIBLE

    def test_row_with_crossed_sides(self, solver):
        program = Program()
        program.rows(program.columns(1), 1.0, 0.0)
        assert solve(program, solver).status is SolutionStatus.INFEASIBLE

    def test_coefficient_that_is_not_finite(self, solver):
        program = Program()
        program.minimise(np.array([[np.inf]]) @ program.columns(1))
        with pytest.raises(SolverError, match="infinite or NaN"):
            solve(program, solver)


@pytest.mark.parametrize("solver", INTEGER)
class TestInteger:
    def test_optimum_equals_scipy(self, solver):
        program = knapsack(8)
        flat = program.matrices()
        limits = LinearConstraint(flat.rows.toarray(), flat.row_lower, flat.row_upper)
        expected = milp(flat.cost, constraints=limits, integrality=np.ones(8), bounds=(0, 1))
        answer = solve(program, solver)
        assert answer.objective == pytest.approx(expected.fun)
        assert (answer.values == np.round(answer.values)).all()

    def test_fractional_bounds(self, solver):
        inside = program_of([1.0, -1.0], [[1.0, 1.0]], -9.0, 9.0, 0.5, 2.5, integer=True)
        assert solve(inside, solver).values == pytest.approx([1.0, 2.0])
        nothing = program_of([1.0, -1.0], [[1.0, 1.0]], -9.0, 9.0, 0.2, 0.8, integer=True)
        assert solve(nothing, solver).status is SolutionStatus.INFEASIBLE

    def test_infeasible_only_for_integers(self, solver):
        program = program_of([1.0, 1.0], [[2.0, 2.0]], 1.0, 1.0, -5.0, 5.0, integer=True)
        assert solve(program, solver).status is SolutionStatus.INFEASIBLE

    def test_unbounded(self, solver):
        program = program_of([1.0, 0.0], [[1.0, 1.0]], 0.0, 3.0, -np.inf, np.inf, integer=True)
        assert solve(program, solver).status is SolutionStatus.UNBOUNDED

    def test_time_limit_is_told_from_an_optimum(self, solver):
        answer = solve(knapsack(60), solver, seconds=0.3)
        assert answer.status in (SolutionStatus.FEASIBLE, SolutionStatus.TIMEOUT)
        assert answer.seconds < 5.0
        if answer.values is not None and answer.bound is not None:
            assert answer.bound <= answer.objective

    def test_same_seed_same_answer(self, solver):
        first, second = (solve(knapsack(10), solver, seed=7) for _ in range(2))
        assert (first.values == second.values).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), integer=st.booleans())
def test_all_solvers_agree_with_exact_rationals(seed, integer):
    program = random_program(seed, integer=integer)
    exact = solve_exact(program)
    for solver in LINEAR:
        answer = solve(program, solver)
        assert answer.status is exact.status, solver
        if exact.objective is not None:
            assert answer.objective == pytest.approx(float(exact.objective), abs=1e-6), solver
        if answer.bound is not None:
            assert answer.bound == pytest.approx(float(exact.objective), abs=1e-6), solver


def test_exact_optimum_is_exact():
    program = program_of([1.0, 1.0], [[3.0, 1.0], [1.0, 3.0]], 1.0, np.inf, 0.0, np.inf)
    exact = solve_exact(program)
    assert exact.values == (Fraction(1, 4), Fraction(1, 4))
    tenth = program_of([1.0], [[1.0]], 0.1, np.inf, 0.0, np.inf)
    assert solve_exact(tenth).objective == Fraction(0.1) != Fraction(1, 10)


@pytest.mark.parametrize(
    "solver", [name for name in USABLE if Feature.WARM_START in get_solver(name).features]
)
def test_start_is_used_or_improved(solver):
    program = knapsack(40)
    best = solve(program, "highs", seconds=0.7)
    answer = solve(program, solver, seconds=0.2, start=best.values)
    assert answer.objective <= best.objective + 1e-6


@pytest.mark.parametrize("solver", QUADRATIC)
class TestQuadratic:
    def test_optimum_equals_scipy(self, solver):
        rng = np.random.default_rng(5)
        matrix, side, weight = rng.standard_normal((6, 4)), rng.random(6) + 0.5, rng.random(4) + 0.2
        program = Program()
        v = program.columns(4, -1.0, 2.0)
        program.rows(matrix @ v, side - 1.0, side)
        program.minimise(np.ones((1, 4)) @ v * -3.0)
        program.minimise_squares(v, weight)
        answer = solve(program, solver)
        expected = minimize(
            lambda x: 0.5 * weight @ x**2 - 3 * x.sum(),
            np.zeros(4),
            bounds=[(-1, 2)] * 4,
            constraints=LinearConstraint(matrix, side - 1.0, side),
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        assert answer.objective == pytest.approx(expected.fun, abs=1e-6)
        assert answer.bound == pytest.approx(answer.objective, abs=1e-5)

    def test_infeasible(self, solver):
        program = Program()
        v = program.columns(3)
        program.rows(v.sum(), 1.0)
        program.rows(v.sum() * 2.0, upper=1.0)
        program.minimise_squares(v)
        assert solve(program, solver).status is SolutionStatus.INFEASIBLE

    def test_equality(self, solver):
        program = Program()
        v = program.columns(2)
        program.rows(np.array([[1.0, 2.0]]) @ v, 5.0, 5.0)
        program.minimise_squares(v)
        assert solve(program, solver).values == pytest.approx([1.0, 2.0], abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_projection_agrees_with_highs(seed):
    rng = np.random.default_rng(seed)
    columns, rows = rng.integers(1, 8, 2)
    matrix = rng.integers(-3, 4, (rows, columns)).astype(float)
    low = rng.integers(-3, 4, rows).astype(float)
    program = Program()
    v = program.columns(
        columns, rng.choice([-np.inf, -2.0, 0.0], columns), rng.choice([np.inf, 1.0], columns)
    )
    program.rows(matrix @ v, low, low + rng.choice([0.0, 1.0, np.inf], rows))
    program.minimise_squares(v, rng.choice([0.5, 1.0, 4.0], columns))
    ours = solve(program, "projection")
    try:
        highs = solve(program, "highs")
    except SolverError:  # HiGHS's quadratic solver failed, and we noticed
        assert ours.status is SolutionStatus.OPTIMAL
        return
    assert ours.status is highs.status
    if ours.objective is not None:
        assert ours.objective == pytest.approx(highs.objective, abs=1e-5)
        assert ours.bound == pytest.approx(ours.objective, abs=1e-6)


def test_false_claim_of_the_quadratic_solver_is_noticed():
    matrix = [[1.0, -1.0, 2.0, 2.0, -1.0], [3.0, -2.0, 1.0, -3.0, -3.0], [-2.0, 1.0, 3.0, 0.0, -3.0]]
    program = Program()
    v = program.columns(5, [0.0, -np.inf, 0.0, -np.inf, -np.inf], [np.inf, 1.0, np.inf, 1.0, 1.0])
    program.rows(np.array(matrix) @ v, [1.0, -3.0, -1.0], [np.inf, -2.0, -1.0])
    program.minimise_squares(v, [4.0, 4.0, 4.0, 0.5, 1.0])
    ours = solve(program, "projection")
    assert ours.bound == pytest.approx(ours.objective)
    flat = tidy(program.matrices())
    with pytest.raises(SolverError, match="refutes"):  # HiGHS 1.15 calls it unbounded
        confirm_quadratic(flat, SolutionStatus.UNBOUNDED)
    with pytest.raises(SolverError, match="refutes"):
        confirm_quadratic(flat, SolutionStatus.INFEASIBLE)


def test_quadratic_program_with_a_free_linear_direction_is_unbounded():
    program = Program()
    v = program.columns(2)
    program.rows(v[[0]], 0.0)
    program.rows(v.sum(), 1.0)
    program.minimise(v[[0]] * 0.0 - v[[1]])
    program.minimise_squares(v[[0]])
    assert solve(program, "highs").status is SolutionStatus.UNBOUNDED


def test_projection_stops_in_time_with_a_bound():
    rng = np.random.default_rng(0)
    program = Program()
    v = program.columns(300)
    program.rows(rng.standard_normal((600, 300)) @ v, rng.random(600) * 0.1)
    program.minimise_squares(v)
    answer = solve(program, "projection", seconds=0.05)
    assert answer.status is SolutionStatus.TIMEOUT
    assert answer.bound > 0


@pytest.mark.parametrize("bounded", [True, False])
def test_lazy_rows_reach_the_same_optimum(bounded):
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((2000, 12))
    program = Program()
    v = program.columns(12, -50.0 if bounded else -np.inf, 50.0 if bounded else np.inf)
    program.rows(matrix @ v, upper=np.abs(matrix).sum(axis=1))
    program.minimise(rng.standard_normal((1, 12)) @ v)
    lazy, full = solve_lazily(program, batch=20), solve(program)
    assert lazy.objective == pytest.approx(full.objective, abs=1e-7)
    assert lazy.bound == pytest.approx(full.objective, abs=1e-6)


def test_lazy_rows_infeasible_and_late():
    rng = np.random.default_rng(3)
    matrix = rng.random((500, 12))
    program = program_of(np.ones(12), np.vstack([matrix, -matrix]), 1.0, np.inf, -1.0, 1.0)
    assert solve_lazily(program, batch=10).status is SolutionStatus.INFEASIBLE
    program = program_of(np.ones(12), matrix, 1.0, np.inf, 0.0, 1.0)
    assert solve_lazily(program, seconds=1e-9).status is SolutionStatus.TIMEOUT


def test_interior_point_without_crossover():
    rng = np.random.default_rng(1)
    program = program_of(rng.random(30), rng.random((20, 30)), 1.0, np.inf, 0.0, 1.0)
    answer = solve(program, options={"solver": "ipx", "run_crossover": "off"})
    assert answer.objective == pytest.approx(solve(program).objective, rel=1e-6)


def test_refusal_names_who_can():
    program = Program()
    v = program.columns(2, 0, 1, integer=True)
    program.rows(v.sum(), 1.0)
    program.minimise_squares(v)
    with pytest.raises(SolverCapabilityError, match=r"integers with quadratic objective.*gurobi"):
        solve(program, "highs")
    with pytest.raises(SolverCapabilityError, match="projection"):
        solve(program_of([1.0], [[1.0]], 0.0, 1.0, 0.0, 1.0), "projection")


def test_size_limited_licence_is_recognised_beforehand():
    if "gurobi" not in USABLE or not licence_is_limited():
        pytest.skip("no size-limited Gurobi licence here")
    wide = program_of(np.ones(LIMIT_LINEAR + 1), np.ones(LIMIT_LINEAR + 1), 1.0, np.inf, 0.0, 1.0)
    with pytest.raises(LicenseError, match="highs"):
        solve(wide, "gurobi")
    tall = program_of([1.0], np.ones((LIMIT_LINEAR // 2 + 1, 1)), 0.5, 2.0, 0.0, 1.0)
    with pytest.raises(LicenseError, match="one-sided rows"):
        solve(tall, "gurobi")
    curved = Program()
    v = curved.columns(LIMIT_QUADRATIC + 1)
    curved.rows(v.sum(), 1.0)
    curved.minimise_squares(v)
    with pytest.raises(LicenseError, match=f"{LIMIT_QUADRATIC} columns"):
        solve(curved, "gurobi")
    edge = program_of(np.ones(LIMIT_LINEAR), np.ones(LIMIT_LINEAR), 1.0, np.inf, 0.0, 1.0)
    assert solve(edge, "gurobi").objective == pytest.approx(1.0)


def test_absent_solver_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gurobipy", None)
    assert "gurobi" not in available_solvers()
    with pytest.raises(SolverUnavailableError, match="pip install gurobipy"):
        get_solver("gurobi")
    program = program_of([1.0], [[1.0]], 0.0, 1.0, 0.0, 1.0)
    assert solve(program).status is SolutionStatus.OPTIMAL


def test_unknown_solver_lists_the_known():
    with pytest.raises(SolverUnavailableError, match="highs, gurobi"):
        get_solver("simplex9000")
    with pytest.raises(SolverUnavailableError, match="PuLP knows no solver"):
        get_solver("pulp:simplex9000")


def test_importing_the_package_imports_no_solver():
    code = (
        "import sys, repairsolver.solvers as s; s.solve; s.session; "
        "print([m for m in ('highspy', 'gurobipy', 'pulp', 'z3', 'torch') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'encodings'}"},
    )
    assert done.stdout.strip() == "[]"


def test_an_entry_point_adds_a_solver(monkeypatch):
    entry = EntryPoint("mine", "repairsolver.solvers.highs:Highs", "repairsolver.solvers")

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [entry] if group == entry.group and name in (None, entry.name) else []

    monkeypatch.setattr("repairsolver.solvers.registry.entry_points", entry_points)
    assert solve(program_of([1.0], [[1.0]], 0.5, 1.0, 0.0, 1.0), "mine").objective == pytest.approx(0.5)
    assert len(report()) == 6


def test_report_covers_every_solver():
    rows = {row.name: row for row in report()}
    assert list(rows)[:5] == ["highs", "gurobi", "pulp", "z3", "projection"]
    assert rows["highs"].availability.version
    assert Feature.EXACT in rows["z3"].features


def test_wrong_answers_are_caught():
    program = program_of([1.0, 1.0], [[1.0, 1.0]], 1.0, np.inf, 0.0, 1.0)
    flat = tidy(program.matrices())
    with pytest.raises(SolverError, match="violates the program"):
        checked("liar", program, flat, Answer(SolutionStatus.OPTIMAL, np.zeros(2), 0.0), 0.0)
    with pytest.raises(SolverError, match="violates the program"):
        checked("liar", program, flat, Answer(SolutionStatus.OPTIMAL, np.full(2, np.nan), 0.0), 0.0)
    with pytest.raises(SolverError, match="lower bound"):
        checked("liar", program, flat, Answer(SolutionStatus.OPTIMAL, np.ones(2), 3.0), 0.0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_multipliers_bound_the_optimum(seed):
    program = random_program(seed, integer=False)
    best = solve(program)
    assume(best.objective is not None)
    flat = tidy(program.matrices())
    multipliers = np.random.default_rng(seed).standard_normal(program.n_rows)
    bound = lagrangian_bound(flat, multipliers, best.values)
    assert bound is not None
    assert bound <= best.objective + 1e-9
