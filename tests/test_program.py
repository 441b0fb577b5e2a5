from __future__ import annotations

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milp import solve
from scipy import sparse

from layerwise.lpfile import to_lp, write_lp
from layerwise.program import Expr, Program, ProgramError, stack


def random_program(seed: int, quadratic: bool = False) -> Program:
    """A bounded feasible program: rows hold at a drawn point."""
    rng = np.random.default_rng(seed)
    program = Program()
    x = program.columns(4, -3.0, rng.uniform(1, 4, 4), name="x")
    free = program.columns(2, name="e2 free!")
    n = program.columns(0 if quadratic else 3, -2.0, 5.0, integer=True, name="n")
    everything = stack([x, free, n])
    point = np.concatenate([rng.uniform(-1, 1, 6), rng.integers(-2, 5, len(n))])
    matrix = sparse.random_array((5, len(everything)), density=0.6, rng=rng)
    activity = matrix @ point
    program.rows(matrix @ everything + 0.25, activity - 1.0, activity + 1.0)
    program.rows(everything, point - 4.0, np.inf)
    program.rows((x + free[[0, 1, 0, 1]])[[1, 2]], activity[:2], activity[:2] + np.array([0.0, 7.5]))
    program.minimise((rng.normal(size=(1, len(everything))) @ everything) + 1.75)
    if quadratic:
        program.minimise_squares(everything, rng.uniform(0.5, 2, len(everything)))
    return program


def highs_optimum(path: str) -> tuple[str, float]:
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    assert highs.readModel(path) == highspy.HighsStatus.kOk
    highs.run()
    return highs.modelStatusToString(highs.getModelStatus()), highs.getInfo().objective_function_value


@pytest.mark.parametrize("seed", range(8))
def test_lp_file_read_back_by_highs_has_the_same_optimum(seed, tmp_path):
    program = random_program(seed)
    write_lp(program, tmp_path / "model.lp")
    status, optimum = highs_optimum(str(tmp_path / "model.lp"))
    result = solve(program)
    if result.status == 0:
        assert status == "Optimal"
        assert optimum == pytest.approx(result.fun, abs=1e-6)
    else:
        assert status == "Infeasible"


def test_lp_file_keeps_a_quadratic_objective(tmp_path):
    program = Program()
    x = program.columns(2, -10, 10)
    program.rows(x.sum(), lower=2.0)
    program.minimise(Expr.constants(3.0))
    program.minimise_squares(x, [1.0, 3.0])
    write_lp(program, tmp_path / "model.lp")
    status, optimum = highs_optimum(str(tmp_path / "model.lp"))
    # Lagrange: x = (3/2, 1/2).
    assert (status, optimum) == ("Optimal", pytest.approx(3.0 + 0.5 * (1.5**2 + 3 * 0.5**2), abs=1e-6))


def test_lp_file_keeps_an_impossible_row_without_entries(tmp_path):
    program = Program()
    program.columns(1, 0, 1)
    program.rows(Expr.constants(0.0), lower=1.0)
    write_lp(program, tmp_path / "model.lp")
    assert highs_optimum(str(tmp_path / "model.lp"))[0] == "Infeasible"


def test_lp_names_are_legal_and_numbers_exact():
    program = Program()
    x = program.columns(1, 0.1, name="e+1 x")
    program.minimise(x * (1.0 / 3.0))
    text = to_lp(program)
    assert "_e_1_x0_0" in text
    assert repr(1.0 / 3.0) in text


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_expressions_compute_what_numpy_computes(seed):
    rng = np.random.default_rng(seed)
    program = Program()
    a, b = program.columns(3), program.columns(2)
    values = rng.normal(size=5)
    left, right = values[:3], values[3:]
    weight, scale, shift = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=3)
    thin = sparse.random_array((4, 3), density=0.5, rng=rng)
    order = rng.integers(0, 3, 5)
    pairs = [
        (a + shift, left + shift),
        (shift - a, shift - left),
        (a * scale, left * scale),
        (scale * a - 2.0 * a, scale * left - 2 * left),
        (weight @ a, weight @ left),
        (thin @ a, thin @ left),
        (thin @ (a + a[[2, 0, 1]]), thin @ (left + left[[2, 0, 1]])),
        (weight @ (weight.T @ (weight @ a)), weight @ weight.T @ weight @ left),
        (weight @ a[order[:3]], weight @ left[order[:3]]),
        (stack([a, b, a]), np.concatenate([left, right, left])),
        (a[:2] - b, left[:2] - right),
        (stack([b, a]).sum(), [values.sum()]),
        (a[np.array([True, False, True])], left[[0, 2]]),
    ]
    for expr, expected in pairs:
        np.testing.assert_allclose(expr.value(values), expected, atol=1e-9)


def test_violation_measures_bounds_rows_and_integrality():
    program = Program()
    x = program.columns(2, 0, 1)
    n = program.columns(1, 0, 9, integer=True)
    program.rows(x.sum() + 1.0, upper=2.5)
    good = np.array([0.5, 1.0, 4.0])
    assert program.violation(good) == 0.0
    assert program.violation(good + np.array([0, 0.25, 0])) == pytest.approx(0.25)
    assert program.violation(good + np.array([0.375, 0, 0])) == pytest.approx(0.375)
    assert program.violation(good + np.array([0, 0, 0.2])) == pytest.approx(0.2)
    assert len(n) == 1


def test_no_row_names_a_column_twice():
    """Solvers refuse such rows."""
    x = Program().columns(3)
    for block in (x[[0, 0, 2]], x[[2, 1, 0]], x + x[[1, 1, 1]]):
        product = np.ones((2, 3)) @ block
        for i in range(2):
            entries = product.matrix.indices[product.matrix.indptr[i] : product.matrix.indptr[i + 1]]
            assert len(set(entries)) == len(entries)


def test_objective_by_hand():
    program = Program()
    x = program.columns(2)
    program.minimise(np.array([[2.0, -1.0]]) @ x + 3.0)
    program.minimise_squares(x, [1.0, 4.0])
    program.minimise_squares(x[[1]], 2.0)
    assert program.objective(np.array([3.0, 5.0])) == 6 - 5 + 3 + 0.5 * (9 + 4 * 25 + 2 * 25)


def test_explicit_zeros_do_not_reach_the_solver():
    program = Program()
    x = program.columns(3)
    program.rows(x * np.array([0.0, 1.0, 2.0]), lower=0.0)
    assert program.matrices().rows.nnz == 2


def test_statistics_count_and_measure():
    program = Program()
    x = program.columns(3)
    binary = program.columns(2, 0, 1, integer=True)
    program.columns(1, 0, 5, integer=True)
    program.rows(x * np.array([0.5, 2.0, 0.0]), lower=0.0)
    program.rows(binary * -100.0, upper=0.0)
    summary = program.statistics()
    counts = (summary.columns, summary.binaries, summary.integers, summary.rows, summary.nonzeros)
    assert counts == (6, 2, 1, 5, 4)
    assert (summary.smallest, summary.largest, summary.spread) == (0.5, 100.0, 200.0)
    assert "6 columns (2 binary, 1 integer), 5 rows, 4 nonzeros" in str(summary)
    assert Program().statistics().spread == 1.0


def test_misuse_is_named():
    program = Program()
    x = program.columns(2)
    with pytest.raises(ProgramError, match="lower bound lies above"):
        program.columns(1, 1.0, 0.0)
    with pytest.raises(ProgramError, match="blocks of 2 and 1"):
        x + x[:1]
    with pytest.raises(ProgramError, match=r"\(2, 3\) matrix with 2 expressions"):
        np.ones((2, 3)) @ x
    with pytest.raises(ProgramError, match="one expression, got a block of 2"):
        program.minimise(x)
    with pytest.raises(ProgramError, match="plain columns"):
        program.minimise_squares(x * 2.0)
    with pytest.raises(ProgramError, match="NaN"):
        program.rows(x, lower=np.nan)
    with pytest.raises(ProgramError, match="expected 2 values"):
        program.violation(np.zeros(3))
