"""Distributions: against scipy's, inside the regions, and what happens to those that leave them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampled_networks import at_least, sum_network, unit
from scipy.stats import chisquare, ks_1samp, truncnorm, uniform

import repairsolver as rs
from repairsolver.errors import SamplingError
from repairsolver.sampling.distributions import Points, Sampler, TruncatedNormal, Uniform, chosen_distribution
from repairsolver.sampling.domain import domain_of
from repairsolver.sampling.sampler import Source
from repairsolver.sampling.streams import block_size, generator

LOW, HIGH = [-1.0, 0.25, 3.0], [2.0, 0.5, 3.0]
BOX = LOW, HIGH


def drawn(distribution, prop, count=4000, blocks=1):
    domain = domain_of(sum_network(prop.input_size), prop)
    source = Source(domain, distribution, 7, count)
    return np.concatenate([source.block(number).points for number in range(blocks)])


def test_uniform_is_uniform():
    points = drawn(Uniform(), at_least(9, BOX))
    for axis in (0, 1):
        law = uniform(LOW[axis], HIGH[axis] - LOW[axis])
        assert ks_1samp(points[:, axis], law.cdf).pvalue > 1e-3
    assert (points[:, 2] == 3).all()
    assert abs(np.corrcoef(points[:, :2].T)[0, 1]) < 0.06


@pytest.mark.parametrize("scale", [0.05, 0.25, 3.0])
def test_truncated_normal_is_that_of_scipy(scale):
    points = drawn(TruncatedNormal(scale), at_least(9, BOX))
    for axis in (0, 1):
        middle, width = (LOW[axis] + HIGH[axis]) / 2, HIGH[axis] - LOW[axis]
        law = truncnorm(-0.5 / scale, 0.5 / scale, loc=middle, scale=scale * width)
        assert ks_1samp(points[:, axis], law.cdf).pvalue > 1e-3


def test_regions_are_chosen_by_volume_or_by_weights():
    prop = at_least(9, ([0.0, 0.0], [1.0, 1.0]), ([2.0, 0.0], [5.0, 1.0]), ([6.0, 0.0], [6.5, 2.0]))
    counts = np.histogram(drawn(Uniform(), prop)[:, 0], [0, 1.5, 5.5, 7])[0]
    assert chisquare(counts, 4000 * np.array([1, 3, 1]) / 5).pvalue > 1e-3
    counts = np.histogram(drawn(Uniform((1.0, 0.0, 1.0)), prop)[:, 0], [0, 1.5, 5.5, 7])[0]
    assert counts[1] == 0
    assert chisquare(counts[[0, 2]]).pvalue > 1e-3


def test_regions_of_different_dimension_need_weights():
    prop = at_least(9, ([0.0, 0.0], [1.0, 1.0]), ([2.0, 0.5], [5.0, 0.5]))
    with pytest.raises(SamplingError, match="regions 1 and 2 of 2 regions have different fixed inputs"):
        drawn(Uniform(), prop)
    assert (drawn(Uniform((0, 1)), prop)[:, 1] == 0.5).all()
    with pytest.raises(SamplingError, match="weights: expected 2 numbers"):
        drawn(Uniform((1.0,)), prop)
    with pytest.raises(SamplingError, match="not all 0"):
        drawn(Uniform((0.0, 0.0)), prop)


def test_a_region_without_volume_is_a_point():
    assert (drawn(Uniform(), at_least(9, ([0.5, 0.25], [0.5, 0.25])), 10) == [0.5, 0.25]).all()


def test_samples_are_float32_numbers_inside_the_box():
    """0.1 and 0.3 are no float32 numbers: rounding must not lead outside."""
    prop = at_least(9, ([0.1, 0.1], [0.1 + 3e-8, 0.3]))
    points = drawn(TruncatedNormal(), prop)
    assert (points == points.astype(np.float32)).all()
    assert prop.regions[0].contains(points).all()


def test_an_interval_without_a_float32_number_gives_the_nearest():
    points = drawn(Uniform(), at_least(9, ([0.1, 0.0], [0.1, 1.0])), 10)
    assert (points[:, 0] == np.float32(0.1)).all()


def test_blocks_do_not_depend_on_each_other():
    prop = at_least(9, BOX)
    source = Source(domain_of(sum_network(3), prop), Uniform(), 5, 100)
    later = source.block(3).points
    assert (Source(source.domain, Uniform(), 5, 100).block(3).points == later).all()
    assert not (source.block(2).points == later).all()
    assert not (Source(source.domain, Uniform(), 6, 100).block(3).points == later).all()


def test_generators_are_pinned():
    """A change here makes every certificate of a statement invalid."""
    assert generator(1, 2).random(3).tolist() == PINNED
    assert (block_size(5), block_size(784), block_size(10**7)) == (8192, 5349, 64)


PINNED = [0.12159044185290979, 0.4689308296247042, 0.06427627742368647]


def test_points_are_drawn_evenly_and_moved_inside():
    given = rs.PointSet(np.array([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]))
    prop = at_least(9, unit(2))
    counts = np.unique(drawn(Points(given), prop), axis=0, return_counts=True)[1]
    assert len(counts) == 3
    assert chisquare(counts).pvalue > 1e-3
    moved = drawn(Points(given, noise=0.1), prop)
    assert prop.regions[0].contains(moved).all()
    middle = moved[np.abs(moved - 0.5).max(axis=1) < 0.2]
    assert ks_1samp(middle[:, 0], uniform(0.4, 0.2).cdf).pvalue > 1e-3


def test_points_outside_are_refused():
    given = rs.PointSet(np.array([[0.0, 0.0], [0.5, 1.5]]), name="file")
    with pytest.raises(SamplingError, match=r"file: 1 of 2 points .* file\[1\]: .*X_1 is 1.5, expected"):
        drawn(Points(given), at_least(9, unit(2)))
    with pytest.raises(SamplingError, match="its points have 2 numbers, the property has 3 inputs"):
        drawn(Points(given), at_least(9, unit(3)))
    with pytest.raises(SamplingError, match="noise"):
        Points(given, noise=-1)


def test_samplers_by_numpy_and_torch():
    def by_numpy(count, seed):
        return np.random.default_rng(seed).random((count, 2))

    def by_torch(count, seed):
        return torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))

    for function in (by_numpy, by_torch):
        points = drawn(Sampler(function), at_least(9, unit(2)), blocks=2)
        assert ks_1samp(points[:, 1], uniform().cdf).pvalue > 1e-3
        assert len(np.unique(points, axis=0)) == 8000


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda count, seed: np.full((count, 2), 1.5), "4000 of 4000 points lie outside"),
        (lambda count, seed: np.full((count, 2), np.nan), "X_0 is nan"),
        (lambda count, seed: np.zeros((count, 3)), r"expected real numbers of shape \[4000, 2\]"),
        (lambda count, seed: np.zeros((count, 2), complex), "complex128"),
    ],
)
def test_samplers_that_misbehave(function, message):
    with pytest.raises(SamplingError, match=message):
        drawn(Sampler(function), at_least(9, unit(2)))


def test_rounding_to_float32_is_not_leaving():
    """A sampler's float64 number inside the box may round to a float32 number outside."""
    prop = at_least(9, ([0.0, 0.0], [0.1, 0.1]))
    points = drawn(Sampler(lambda count, seed: np.full((count, 2), 0.1)), prop, 10)
    assert (points == np.nextafter(np.float32(0.1), np.float32(0))).all()


def test_distributions_by_name():
    assert chosen_distribution("uniform") == Uniform()
    assert chosen_distribution("truncated-normal") == TruncatedNormal()
    assert chosen_distribution(np.random.rand).name == ""
    with pytest.raises(SamplingError, match="choose uniform or truncated-normal"):
        chosen_distribution("gauss")
    with pytest.raises(SamplingError, match="scale"):
        TruncatedNormal(0.0)
