"""Intervals of skewed numbers: by simulation, and against Student's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from repairsolver.sampling.skewed import mean_interval


@pytest.mark.parametrize(("spread", "count"), [(0.3, 10), (0.6, 10), (0.9, 20)])
def test_the_mean_of_skewed_numbers_is_held_as_often_as_stated(spread: float, count: int) -> None:
    """Log-normal numbers, and gamma numbers, which are not."""
    rng = np.random.default_rng(3)
    for draws, mean in (
        (np.exp(spread * rng.standard_normal((2000, count))), np.exp(spread**2 / 2)),
        (rng.gamma(1 / spread**2, size=(2000, count)), 1 / spread**2),
    ):
        held = sum(low <= mean <= high for low, high in map(mean_interval, draws))
        assert binomtest(held, 2000).proportion_ci(0.999).high >= 0.95
        assert held < 1990


def test_students_interval_is_inside_and_stands_alone_with_zeros() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.standard_normal(8))
    low, high = mean_interval(values)
    student = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert low <= max(0.0, student.low)
    assert high >= student.high
    values[0] = 0.0
    student = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((max(0.0, student.low), student.high))


def test_equal_numbers_zeros_and_huge_spread() -> None:
    assert mean_interval(np.full(5, 2.0)) == pytest.approx((2.0, 2.0))
    assert mean_interval(np.zeros(3)) == (0.0, 0.0)
    low, high = mean_interval(np.array([1e-300, 1.0]))
    assert low == 0.0
    assert high == np.inf
