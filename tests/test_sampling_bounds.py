"""Bounds on probabilities: exact coverage by enumeration, and agreement with other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, binom, binomtest

from repairsolver.errors import SamplingError
from repairsolver.sampling.binomial import Fixed, clopper_pearson, zero_failure_size
from repairsolver.sampling.sampler import make_test
from repairsolver.sampling.sequential import Sequential, log_capital_above, log_capital_below, looks


@pytest.mark.parametrize(("n", "k"), [(1, 0), (10, 0), (10, 3), (10, 10), (688, 0), (5000, 17)])
def test_clopper_pearson_is_that_of_scipy(n, k):
    low, high = clopper_pearson(n, k, 0.01)
    assert high == pytest.approx(binomtest(k, n, alternative="less").proportion_ci(0.99).high, rel=1e-9)
    assert low == pytest.approx(binomtest(k, n, alternative="greater").proportion_ci(0.99).low, rel=1e-9)


@pytest.mark.parametrize("n", [1, 7, 40, 300])
@pytest.mark.parametrize("p", [1e-4, 0.01, 0.0499, 0.3, 0.9])
def test_fixed_bounds_are_wrong_with_probability_at_most_eta(n, p):
    """All outcomes, weighted exactly."""
    k = np.arange(n + 1)
    bounds = np.array([clopper_pearson(n, int(j), 0.05) for j in k])
    mass = binom.pmf(k, n, p)
    assert mass[bounds[:, 1] < p].sum() <= 0.05 + 1e-12
    assert mass[bounds[:, 0] > p].sum() <= 0.05 + 1e-12


@pytest.mark.parametrize(("epsilon", "eta", "size"), [(0.01, 0.001, 688), (1e-3, 1e-3, 6905), (0.5, 0.5, 1)])
def test_zero_failures(epsilon, eta, size):
    assert zero_failure_size(epsilon, eta) == size
    assert clopper_pearson(size, 0, eta)[1] <= epsilon
    assert size == 1 or clopper_pearson(size - 1, 0, eta)[1] > epsilon


@pytest.mark.parametrize("p", [0.01, 0.04, 0.05, 0.0500001, 0.06, 0.2, 0.9])
def test_stopping_is_wrong_with_probability_at_most_eta(p):
    """The distribution of (n, k) under the stopping rule that looks after every sample, exactly."""
    test = Sequential(0.05, 0.1, 600)
    alive, accepted, rejected, spent = np.ones(1), 0.0, 0.0, 0.0
    for n in range(1, test.samples + 1):
        alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
        k = np.arange(n + 1)
        yes, no = test.accepts(n, k), test.rejects(n, k)
        assert not (yes & no).any()
        accepted, rejected = accepted + alive[yes].sum(), rejected + alive[no].sum()
        spent += alive[yes | no].sum() * n
        alive = np.where(yes | no, 0.0, alive)
    wrong = accepted if p > test.epsilon else rejected
    assert wrong <= test.eta
    if p in (0.01, 0.2, 0.9):  # far from epsilon it nearly always ends, and rightly
        assert accepted + rejected > 0.99
        assert wrong < 0.02


@pytest.mark.parametrize("p", [0.003, 0.02, 0.3])
def test_bounds_hold_at_all_times_at_once(p):
    """Exactly the probability that the bounds ever exclude p, within 400 samples."""
    test, alive, missed = Sequential(0.5, 0.1, 400), np.ones(1), 0.0
    for n in range(1, 401):
        alive = np.append(alive * (1 - p), 0) + np.append(0, alive * p)
        k = np.arange(n + 1)
        # p is below the lower bound, or above the upper one, where it is refuted itself
        out = (log_capital_below(n, k, p) >= test.needed) | (log_capital_above(n, k, p) >= test.needed)
        missed += alive[out].sum()
        alive = np.where(out, 0.0, alive)
    assert missed <= 2 * test.eta


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.floats(0, 1), st.floats(1e-4, 0.99), st.sampled_from([1e-9, 1e-3, 0.05, 0.5]))
def test_bounds_and_answers_agree(n, share, epsilon, eta):
    k = round(n * share)
    test = Sequential(epsilon, eta, n)
    low, high = test.bounds(n, k)
    assert 0 <= low <= k / n <= high <= 1
    assert bool(test.accepts(n, k)) == (high <= epsilon + 1e-12) or abs(high - epsilon) < 1e-9
    assert bool(test.rejects(n, k)) == (low > epsilon) or abs(low - epsilon) < 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 500), st.floats(0, 0.5), st.sampled_from([1e-6, 0.01, 0.2]))
def test_capital_grows_with_distance(n, share, eta):
    """What is refuted from above stays refuted further up: the upper bound is one number."""
    k = round(n * share)
    grid = np.linspace(max(k / n, 1e-6), 0.999, 200)
    refuted = log_capital_below(n, k, grid) >= -math.log(eta)
    assert (np.diff(refuted.astype(int)) >= 0).all()


@pytest.mark.parametrize(("n", "k", "m"), [(20, 0, 0.1), (20, 1, 0.3), (15, 6, 0.2)])
def test_capital_is_the_mixture(n, k, m):
    """Against numerical integration of the bets over the prior."""

    def bet(q):
        return (q / m) ** k * ((1 - q) / (1 - m)) ** (n - k)

    def mixture(low, high):
        mass = beta(0.5, 0.5).cdf(high) - beta(0.5, 0.5).cdf(low)
        value, _ = quad(lambda s: bet(math.sin(s) ** 2) * 2 / math.pi, *np.arcsin(np.sqrt([low, high])))
        return value / mass

    assert log_capital_above(n, k, m) == pytest.approx(math.log(mixture(m, 1.0)), abs=1e-6)
    below = 0.5 * mixture(0.0, m) + 0.5 * (bet(0.0) if k == 0 else 0.0)
    assert log_capital_below(n, k, m) == pytest.approx(math.log(below), abs=1e-6)


def test_looks_end_with_the_block():
    assert looks(5, 0).tolist() == [0, 1, 2, 3, 4]
    assert looks(1000, 128 * 300).tolist() == [299, 599, 899, 999]


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, math.nan, math.inf, True, "0.1"])
@pytest.mark.parametrize("name", ["epsilon", "eta"])
def test_levels_outside_are_refused(name, value):
    with pytest.raises(SamplingError, match=f"{name}: expected a number strictly between 0 and 1"):
        make_test(**({"epsilon": 0.1, "eta": 0.1} | {name: value}), sequential=True, samples=None)


@pytest.mark.parametrize("samples", [0, -1, 2.5, True])
def test_numbers_of_samples_are_checked(samples):
    with pytest.raises(SamplingError, match="samples: expected a whole number"):
        make_test(0.1, 0.1, False, samples)


def test_a_fixed_test_has_the_least_size():
    assert make_test(0.01, 0.001, False, None) == Fixed(0.01, 0.001, 688)
