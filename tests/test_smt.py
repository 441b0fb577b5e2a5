from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st
from milp import Rows, random_net

from layerwise import smt
from layerwise.program import ProgramError


def evaluate(terms) -> list[Fraction]:
    return [smt.number(z3.simplify(term)) for term in terms]


@given(value=st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None)
def test_floats_become_the_rationals_they_are(value):
    assert smt.number(z3.simplify(smt.rational(value))) == Fraction(value)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_network_is_computed_exactly(seed):
    rng = np.random.default_rng(seed)
    net = random_net(rng, [3, 4, 4, 2])
    point = rng.normal(size=3)
    terms = smt.constants(point)
    for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
        terms = smt.relu(smt.dense(terms, weight, bias))
    values = evaluate(smt.dense(terms, net.weights[-1], net.biases[-1]))
    np.testing.assert_allclose([float(v) for v in values], net(point[None])[0], rtol=1e-12, atol=1e-12)


def test_dense_is_exact_where_floats_are_not():
    assert evaluate(smt.dense(smt.constants([0.1, 0.2]), [[1.0, 1.0]], [-0.3])) == [
        Fraction(0.1) + Fraction(0.2) - Fraction(0.3)
    ]
    assert float(Fraction(0.1) + Fraction(0.2) - Fraction(0.3)) != 0.1 + 0.2 - 0.3


def test_activations_and_pools():
    x = smt.constants([-2.0, -0.5, 0.0, 3.0])
    assert evaluate(smt.relu(x)) == [0, 0, 0, 3]
    assert evaluate(smt.leaky_relu(x, [0.5, 0.25, 1.0, 7.0])) == [-1, Fraction(-1, 8), 0, 3]
    assert evaluate(smt.clip(x, -1.0, 2.0)) == [-1, Fraction(-1, 2), 0, 2]
    assert evaluate(smt.clip(x, -np.inf, 2.0)) == [-2, Fraction(-1, 2), 0, 2]
    assert evaluate(smt.clip(x, 0.0, np.inf)) == [0, 0, 0, 3]
    assert evaluate(smt.max_pool(x, np.array([[0, 1, -1], [0, 2, 3], [1, -1, -1]]))) == [
        Fraction(-1, 2),
        3,
        Fraction(-1, 2),
    ]


def test_half_spaces_and_their_negation():
    rows = Rows(np.array([[1.0, -1.0], [0.0, 1.0]]), np.array([[0.0], [1.0]]), np.array([0.0, 2.0]))
    for y, x in (((0.0, 1.0), 1.0), ((1.0, 0.0), 1.0), ((0.0, 1.0), 1.5)):
        terms, at = smt.constants(y), smt.constants(x)
        holds = bool((rows.output @ y + rows.input @ [x] <= rows.bound).all())
        assert z3.is_true(z3.simplify(smt.all_rows_hold(terms, rows, at))) == holds
        broken = bool((rows.output @ y + rows.input @ [x] >= rows.bound + 0.25).any())
        assert z3.is_true(z3.simplify(smt.some_row_broken(terms, rows, at, 0.25))) == broken


def test_boxes():
    x = smt.variables(2)
    solver = z3.Solver()
    solver.add(smt.box(x, [0.25, -np.inf], [0.25, -1.0]), x[1] >= -1)
    assert solver.check() == z3.sat
    assert [smt.number(solver.model()[t]) for t in x] == [Fraction(1, 4), -1]


def test_misuse_is_named():
    with pytest.raises(ProgramError, match="nan is not a rational"):
        smt.constants([1.0, np.nan])
    with pytest.raises(ProgramError, match=r"shape \(1, 2\) does not fit 1"):
        smt.dense(smt.variables(1), [[1.0, 2.0]], 0.0)
    rows = Rows(np.ones((1, 1)), np.ones((1, 1)), np.ones(1))
    with pytest.raises(ProgramError, match="pass x"):
        smt.all_rows_hold(smt.variables(1), rows)
