from __future__ import annotations

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milp import solve
from scipy.optimize import minimize

from layerwise.lpfile import write_lp
from layerwise.norm import NORMS
from layerwise.program import Program, ProgramError

LINEAR = [norm for norm in NORMS.values() if not norm.quadratic]
every = pytest.mark.parametrize("norm", NORMS.values(), ids=lambda n: n.name)
linear = pytest.mark.parametrize("norm", LINEAR, ids=lambda n: n.name)


@every
def test_values_by_hand(norm):
    delta = np.array([3.0, 0.0, -4.0])
    assert norm.value(delta) == {"l0": 2, "l1": 7, "l2": 5, "linf": 4}[norm.name]
    weights = np.array([2.0, 9.0, 1.0])
    assert norm.value(delta, weights) == pytest.approx(
        {"l0": 3, "l1": 10, "l2": 52**0.5, "linf": 6}[norm.name]
    )
    assert norm.value(np.zeros(0)) == 0.0


@linear
@pytest.mark.parametrize("reach", [4.0, np.inf])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_objective_is_the_norm_of_its_solution(norm, reach, seed):
    """At optimal solutions, the objective equals the norm of the changes, weighted or not."""
    if norm.integers:
        reach = 4.0
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2, 5) if seed % 2 else np.ones(5)
    program = Program()
    delta = norm.minimise(program, 5, lower=-reach, upper=reach, weights=weights)
    program.rows(rng.normal(size=(3, 5)) @ delta, lower=rng.uniform(0, 1, 3))
    result = solve(program)
    if result.status == 0:
        changes = delta.value(result.x)
        changes[np.abs(changes) < 1e-9] = 0.0
        assert norm.of_objective(result.fun) == pytest.approx(norm.value(changes, weights), abs=1e-6)
        assert (np.abs(changes) <= reach + 1e-9).all()


@linear
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_least_change_for_one_row_has_its_closed_form(norm, seed):
    """min ||w d|| with a.d >= 1 is 1 / ||a / w||_dual; for L0, the number of entries that suffice."""
    rng = np.random.default_rng(seed)
    a, weights = rng.normal(size=4), rng.uniform(0.5, 2, 4)
    program = Program()
    reach = 100.0 if norm.integers else np.inf
    delta = norm.minimise(program, 4, lower=-reach, upper=reach, weights=weights)
    program.rows(a[None] @ delta, lower=1.0)
    ratio = np.abs(a / weights)
    enough = np.abs(a) * 100.0 >= 1.0
    expected = {"l1": 1 / ratio.max(), "linf": 1 / ratio.sum()}.get(
        norm.name, weights[enough].min(initial=np.inf)
    )
    if np.isfinite(expected):
        assert norm.of_objective(solve(program).fun) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_l2_least_change(seed, tmp_path):
    """By HiGHS's quadratic solver, against the closed form for one row and SLSQP for several."""
    rng = np.random.default_rng(seed)
    matrix, weights = rng.normal(size=(1 + seed % 2 * 2, 5)), rng.uniform(0.5, 2, 5)
    program = Program()
    delta = NORMS["l2"].minimise(program, 5, weights=weights)
    program.rows(matrix @ delta, lower=1.0)
    write_lp(program, tmp_path / "model.lp")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.readModel(str(tmp_path / "model.lp"))
    highs.run()
    found = NORMS["l2"].of_objective(highs.getInfo().objective_function_value)
    if len(matrix) == 1:
        assert found == pytest.approx(1 / np.linalg.norm(matrix[0] / weights), rel=1e-6)
    oracle = minimize(
        lambda d: 0.5 * np.sum((weights * d) ** 2),
        np.linalg.lstsq(matrix, np.ones(len(matrix)), rcond=None)[0],
        constraints={"type": "ineq", "fun": lambda d: matrix @ d - 1.0},
        options={"ftol": 1e-12},
    )
    assert found == pytest.approx(np.sqrt(2 * oracle.fun), rel=1e-4)


def test_the_two_forms_of_linf_agree():
    rng = np.random.default_rng(0)
    for _ in range(10):
        matrix, weights = rng.normal(size=(4, 6)), rng.uniform(0.5, 2, 6)
        found = []
        for reach in (np.inf, 1e3):
            program = Program()
            delta = NORMS["linf"].minimise(program, 6, lower=-reach, upper=reach, weights=weights)
            program.rows(matrix @ delta, lower=1.0)
            found.append(solve(program).fun)
        assert found[0] == pytest.approx(found[1], rel=1e-7)


@linear
def test_bounds_hold_on_each_side(norm):
    low = np.array([-1.0, 0.0, -2.0, 0.0])
    high = np.array([0.0, 1.0, 3.0, 0.0])
    for sign in (1.0, -1.0):
        program = Program()
        delta = norm.minimise(program, 4, lower=low, upper=high)
        program.minimise(sign * delta.sum())
        assert solve(program).fun == pytest.approx(low.sum() if sign > 0 else -high.sum())


@pytest.mark.parametrize("norm", [n for n in LINEAR if n.name != "l0"], ids=lambda n: n.name)
def test_bounds_may_exclude_zero_and_be_one_sided(norm):
    program = Program()
    delta = norm.minimise(program, 3, lower=[2.0, -np.inf, -np.inf], upper=[np.inf, -3.0, np.inf])
    result = solve(program)
    assert norm.of_objective(result.fun) == pytest.approx({"l1": 5.0, "linf": 3.0}[norm.name])
    changes = delta.value(result.x)
    assert changes[0] >= 2.0 - 1e-9
    assert changes[1] <= -3.0 + 1e-9


@every
def test_misuse_is_named(norm):
    program = Program()
    with pytest.raises(ProgramError, match="weights must be positive"):
        norm.minimise(program, 2, lower=-1, upper=1, weights=[1.0, 0.0])
    with pytest.raises(ProgramError, match="above"):
        norm.minimise(program, 2, lower=[1, 0], upper=[0, 1])
    if norm.integers:
        with pytest.raises(ProgramError, match="no finite bounds"):
            norm.minimise(program, 2)
        with pytest.raises(ProgramError, match="contain 0"):
            norm.minimise(program, 2, lower=[1, -1], upper=2)
