from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milp import Rows, minimum, solve

from layerwise import output
from layerwise.program import Expr, Program, ProgramError


def rows(matrix, bound, inputs=0, d=None):
    c = np.atleast_2d(np.asarray(matrix, dtype=float))
    return Rows(
        c, np.zeros((len(c), inputs)) if d is None else np.atleast_2d(d), np.atleast_1d(bound).astype(float)
    )


def broken(conjunctions, y, x, margin):
    """The definition: in every conjunction some row is at least d + margin."""
    return all((c.output @ y + c.input @ x >= c.bound + margin).any() for c in conjunctions)


def draw(rng, outputs=3, inputs=2):
    count = rng.integers(1, 4)
    sizes = rng.integers(1, 4, count)
    return [
        Rows(rng.normal(size=(r, outputs)), rng.normal(size=(r, inputs)), rng.normal(size=r)) for r in sizes
    ]


@given(seed=st.integers(0, 10**6), given_bounds=st.booleans())
@settings(max_examples=60, deadline=None)
def test_broken_at_fixed_outputs_is_the_definition(seed, given_bounds):
    rng = np.random.default_rng(seed)
    conjunctions, margin = draw(rng), rng.uniform(0, 0.5)
    points, x = rng.uniform(-2, 2, (2, 3)), rng.uniform(-1, 1, (2, 2))
    low, high = (points + side * rng.uniform(0, 1, (2, 3)) for side in (-1, 1))
    program = Program()
    y = program.columns(6, low.ravel(), high.ravel())
    ends = {}
    if given_bounds:
        y = program.columns(6)
        ends = {"lower": low.ravel(), "upper": high.ravel()}
    output.at_least_one_row_broken(program, y, conjunctions, margin=margin, x=x, **ends)
    program.rows(y, points.ravel(), points.ravel())
    expected = all(broken(conjunctions, *point, margin) for point in zip(points, x, strict=True))
    assert (solve(program).status == 0) == expected


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_cheapest_break_is_the_best_over_all_choices_of_rows(seed):
    """Brute force: one linear program per choice of a row in every conjunction."""
    rng = np.random.default_rng(seed)
    conjunctions, cost, x = draw(rng), rng.normal(size=(1, 3)), rng.uniform(-1, 1, 2)
    best = np.inf
    for choice in np.ndindex(*(len(c.bound) for c in conjunctions)):
        program = Program()
        y = program.columns(3, -2, 2)
        for r, c in zip(choice, conjunctions, strict=True):
            program.rows(c.output[[r]] @ y, lower=c.bound[r] + 0.1 - c.input[r] @ x)
        program.minimise(cost @ y)
        result = solve(program)
        best = min(best, result.fun if result.status == 0 else np.inf)
    program = Program()
    y = program.columns(3, -2, 2)
    output.at_least_one_row_broken(program, y, conjunctions, margin=0.1, x=x[None])
    program.minimise(cost @ y)
    result = solve(program)
    assert (result.fun if result.status == 0 else np.inf) == pytest.approx(best, abs=1e-5)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_some_conjunction_holds_is_the_best_over_conjunctions(seed):
    rng = np.random.default_rng(seed)
    conjunctions, cost = draw(rng), rng.normal(size=(1, 5))
    best = np.inf
    for c in conjunctions:
        program = Program()
        y, x = program.columns(3, -2, 2), program.columns(2, -1, 1)
        output.all_rows_hold(program, y, c, x=x)
        program.minimise(cost[:, :3] @ y + cost[:, 3:] @ x)
        result = solve(program)
        best = min(best, result.fun if result.status == 0 else np.inf)
    for ends in ({}, {"lower": -2.0, "upper": np.full(3, 2.0)}):
        program = Program()
        y, x = program.columns(3, -2, 2), program.columns(2, -1, 1)
        output.some_conjunction_holds(program, y, conjunctions, x=x, **ends)
        program.minimise(cost[:, :3] @ y + cost[:, 3:] @ x)
        result = solve(program)
        assert (result.fun if result.status == 0 else np.inf) == pytest.approx(best, abs=1e-5)


def test_one_row_needs_neither_binaries_nor_bounds():
    program = Program()
    y = program.columns(4)
    made = output.at_least_one_row_broken(program, y, [rows([1, -1], 0.5)], margin=0.25)
    assert (len(made.chosen), made.largest, made.leak()) == (0, 0.0, 0.0)
    assert program.statistics().binaries == 0
    assert minimum(program, y[[0]] - y[[1]]) == pytest.approx(0.75)
    assert minimum(program, y[[2]] - y[[3]]) == pytest.approx(0.75)


def test_groups_are_simplified():
    program = Program()
    v = program.columns(8)
    low = np.array([0, -1, -1, -1, -0.1, -1, -1, -1.0])
    high = np.array([1, 1, -0.1, 1, 1, 1, -0.1, -0.1])
    made = output.some_row_reached(program, v, np.zeros(8), group=2, lower=low, upper=high)
    # Reached anyway; only the second can; both can; none can.
    assert len(made.chosen) == 2
    assert made.largest == 1.0
    assert made.leak(1e-6) == pytest.approx(1e-6)
    assert solve(program).status == 2


def test_big_ms_are_the_smallest_that_the_bounds_allow():
    program = Program()
    y = program.columns(2, [-1.0, -3.0], [2.0, 4.0])
    made = output.at_least_one_row_broken(program, y, [rows(np.eye(2), [1.0, 1.0])], margin=0.5)
    assert made.largest == 1.5 + 3.0


def test_only_the_side_that_makes_the_big_m_must_be_finite():
    two = rows(np.eye(2), [1.0, 2.0])
    program = Program()
    y = program.columns(2, 0.0, np.inf)
    assert output.at_least_one_row_broken(program, y, [two], margin=0.0).largest == 2.0
    assert minimum(program, y.sum()) == pytest.approx(1.0)
    program = Program()
    y = program.columns(2, -np.inf, 3.0)
    assert output.some_conjunction_holds(program, y, [two, two]).largest == 2.0
    assert minimum(program, -y.sum()) == pytest.approx(-3.0)


def test_parts_over_inputs():
    conjunction = rows([[1.0]], [0.0], d=[[2.0]])
    y = Program().columns(2)
    at = output.activity(y, np.array([[10.0], [20.0]]), conjunction)
    np.testing.assert_array_equal(at.value(np.array([1.0, 2.0])), [21.0, 42.0])
    at = output.activity(y, Expr.constants([10.0, 20.0]), conjunction)
    np.testing.assert_array_equal(at.value(np.array([1.0, 2.0])), [21.0, 42.0])
    with pytest.raises(ProgramError, match="pass x"):
        output.activity(y, None, conjunction)


def test_misuse_is_named():
    program = Program()
    free = program.columns(2)
    two = rows(np.eye(2), [0.0, 0.0])
    with pytest.raises(ProgramError, match="disjunction, below: entries 0, 1 have no finite bounds"):
        output.at_least_one_row_broken(program, free, [two], margin=0.1)
    with pytest.raises(ProgramError, match="cannot be broken"):
        output.at_least_one_row_broken(program, free, [rows(np.zeros((0, 2)), [])], margin=0.1)
    with pytest.raises(ProgramError, match="no conjunctions"):
        output.some_conjunction_holds(program, free, [])
    with pytest.raises(ProgramError, match="disjunction, above: entries 0, 1 have no finite bounds"):
        output.some_conjunction_holds(program, free, [two, two])
    with pytest.raises(ProgramError, match="entries 1 have a lower bound above"):
        output.some_row_reached(program, free, np.zeros(2), group=2, lower=[0, 2], upper=[np.inf, 1])
    with pytest.raises(ProgramError, match="over 3 outputs do not fit 2"):
        output.activity(free, None, rows(np.eye(3), np.zeros(3)))
    with pytest.raises(ProgramError, match="no groups of 2"):
        output.some_row_reached(program, free[:1], np.zeros(1), group=2)
