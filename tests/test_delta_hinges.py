"""Least squares with non-negative multipliers: another method, and the optimality conditions, agree."""

import numpy as np
import pytest
from scipy.optimize import nnls

from repairsolver.repairing.delta import hinges
from repairsolver.repairing.delta.hinges import multipliers, ridged


@pytest.mark.parametrize("seed", range(20))
def test_minimisers_are_those_of_lawson_and_hanson(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, rank = int(rng.integers(1, 60)), int(rng.integers(1, 20))
    rows = rng.normal(size=(size, rank))
    matrix = rows @ rows.T + np.diag(10.0 ** rng.uniform(-3, 1, size))
    wanted = rng.normal(size=size) + rng.normal()
    found = multipliers(matrix, wanted)
    factor = np.linalg.cholesky(matrix).T
    expected = nnls(factor, np.linalg.solve(factor.T, wanted))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    slopes = matrix @ found - wanted
    assert (found >= 0).all()
    assert (slopes >= -1e-8).all()
    assert abs(found @ slopes) < 1e-7


def test_nothing_is_stretched() -> None:
    assert (multipliers(np.eye(3), np.array([-1.0, 0.0, -2.0])) == 0).all()


def test_where_guesses_end_another_method_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 5))
    matrix, wanted = rows @ rows.T + 0.1 * np.eye(30), rng.normal(size=30)
    expected = multipliers(matrix, wanted)
    monkeypatch.setattr(hinges, "GUESSES", 0)
    np.testing.assert_allclose(multipliers(matrix, wanted), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_a_penalty_without_end_leaves_a_kernel_that_can_be_factored(seed: int) -> None:
    """As of rows that contradict each other: no change meets them, so the penalty grows."""
    rng = np.random.default_rng(seed)
    rows = 1e3 * rng.normal(size=(40, 3))
    kernel, wanted = rows @ rows.T, np.abs(rng.normal(size=40))
    matrix, weights = ridged(kernel, np.full(40, 1e25))
    found = multipliers(matrix, wanted)
    assert (found >= 0).all()
    assert (weights < 1e25).all()
    # Still a hard penalty: what a row lacks, lambda / w, is small beside what all of them pull.
    assert (found / weights).max() < 1e-9 * np.abs(kernel).max() * found.max()
    mild = np.full(40, 2.0)
    np.testing.assert_array_equal(ridged(kernel, mild)[1], mild)
    np.testing.assert_array_equal(ridged(kernel, mild)[0], kernel + 0.5 * np.eye(40))
