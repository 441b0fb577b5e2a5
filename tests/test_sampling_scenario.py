"""PAC models: the scenario bound by simulation and enumeration, models of known functions, partitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from random_networks import dense_network
from sampled_networks import at_least, sum_network, unit
from scipy.optimize import linprog
from scipy.stats import binom

import repairsolver as rs
from repairsolver.errors import SamplingError
from repairsolver.property import Conjunction, Property, Region
from repairsolver.sampling.scenario import PacModel, _chebyshev, _peak, _upper, scenario_size


@pytest.mark.parametrize(("epsilon", "eta", "rows"), [(0.01, 0.001, 1), (0.05, 0.01, 4), (0.2, 0.5, 2)])
def test_scenario_size_is_least(epsilon, eta, rows):
    size = scenario_size(epsilon, eta, rows)
    assert binom.cdf(rows - 1, size, epsilon) <= eta < binom.cdf(rows - 1, size - 1, epsilon)
    assert size <= math.ceil((2 / epsilon) * (math.log(1 / eta) + rows))


def test_one_row_is_the_zero_failure_test():
    assert scenario_size(0.01, 0.001, 1) == 688


@pytest.mark.parametrize("rows", [1, 3])
def test_margins_fail_as_seldom_as_stated(rows):
    """Margins are maxima of `rows` independent uniform numbers: the mass beyond them is known exactly."""
    epsilon, eta, runs = 0.05, 0.1, 4000
    size, rng = scenario_size(epsilon, eta, rows), np.random.default_rng(0)
    wrong = 0
    for _ in range(runs):
        margin = rng.random((size, rows)).max(axis=0)
        wrong += 1 - margin.prod() > epsilon
    assert wrong / runs <= eta + 4 * math.sqrt(eta / runs)
    assert wrong / runs >= eta / 2  # the bound is tight for independent rows


def test_fits_are_chebyshev_fits():
    """Against scipy's linear program, and of a function that is affine."""
    rng = np.random.default_rng(1)
    u, values = rng.uniform(-1, 1, (40, 3)), rng.normal(size=40) * 1e-4
    slope, shift = _chebyshev(u, values)
    ours = np.abs(values - u @ slope - shift).max()
    basis = np.column_stack([u, np.ones(40)])
    error = -np.ones((40, 1))
    rows, limits = np.block([[basis, error], [-basis, error]]), np.concatenate([values, -values])
    best = linprog([0, 0, 0, 0, 1], rows, limits, bounds=[(None, None)] * 4 + [(0, None)]).fun
    assert ours == pytest.approx(best, rel=1e-4)
    slope, shift = _chebyshev(u, u @ [1.0, -2.0, 0.0] + 3)
    assert [*slope, shift] == pytest.approx([1, -2, 0, 3], abs=1e-5)


def test_bounds_of_models_contain_what_points_show():
    rng = np.random.default_rng(2)
    points = rng.uniform(-1, 1, (20_000, 2))
    for rows in (1, 2, 4):
        slope, shift = rng.normal(size=(rows, 2)), rng.normal(size=rows)
        seen = (points @ slope.T + shift).min(axis=1).max()
        value, where = _peak(slope, shift)
        assert seen <= _upper(slope, shift) + 1e-9
        assert seen - 1e-9 <= value + 0.05
        assert value == pytest.approx((slope @ where + shift).min())
        assert value <= _upper(slope, shift) + 1e-9
        assert _upper(slope, shift) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e12, 1e32])
def test_bounds_and_peaks_of_outputs_of_any_size(size):
    rng = np.random.default_rng(3)
    slope, shift = rng.normal(size=(4, 3)), rng.normal(size=4)
    assert _upper(size * slope, size * shift) == pytest.approx(size * _upper(slope, shift), rel=1e-6)
    assert _peak(size * slope, size * shift)[0] == pytest.approx(size * _peak(slope, shift)[0], rel=1e-6)
    assert _upper(0 * slope, 0 * shift) == 0


def test_peaks_lie_in_the_box():
    model = PacModel(
        np.array([1.0, 2.0]), np.array([3.0, 2.0]), np.array([[1.0, 0.0]]), np.zeros(1), np.ones(1), (1,)
    )
    value, where = model.peak()
    assert value == 0.0
    assert where.tolist() == [3.0, 2.0]
    assert model.highest() == 2.0


def test_an_affine_network_needs_one_box():
    found = rs.characterise(sum_network(3), at_least(3.5, unit(3)), epsilon=0.01, eta=0.001)
    assert [box.status for box in found.boxes] == ["safe"]
    assert found.share("safe") == 1
    assert found.boxes[0].samples == scenario_size(0.01, 0.001 / 64, 1)
    assert found.boxes[0].model.margin[0] < 1e-4


def test_parts_of_a_triangle():
    """x + y >= 1.5 on the unit square: half of each box is decided by its corner."""
    found = rs.characterise(sum_network(2), at_least(1.5, unit(2)), epsilon=0.01, eta=0.001, leaves=24)
    assert sum(box.share for box in found.boxes) == pytest.approx(1)
    assert 12 < len(found.boxes) <= 24
    assert found.share("safe") > 0.6
    assert 0.125 <= found.share("violated") < 0.3
    for box in found.boxes:
        reaches = box.model.upper.sum() >= 1.5
        assert (box.status == "violated") == reaches or abs(box.model.upper.sum() - 1.5) < 1e-3
    assert (found.examples.sum(axis=1) >= 1.5 - 1e-6).all()
    assert len(found.examples) > 20


def test_safe_boxes_are_nearly_free_of_violations():
    """Random networks: in all safe boxes together the share of violations is below epsilon."""
    for seed in range(4):
        net = dense_network(np.random.default_rng(seed), [2, 8, 8, 2])
        box = Region(-np.ones(2), np.ones(2), ())
        outputs = net(np.random.default_rng(9).uniform(-1, 1, (4000, 2)))
        threshold = np.quantile(outputs[:, 0] - outputs[:, 1], 0.97)
        unsafe = (Conjunction(np.array([[-1.0, 1.0]]), np.zeros((1, 2)), np.array([-threshold])),)
        prop = Property((Region(box.lower, box.upper, unsafe),), 2, 2)
        found = rs.characterise(net, prop, epsilon=0.02, eta=0.01, leaves=16)
        assert found.share("violated") > 0
        for part in found.boxes:
            if part.status != "safe":
                continue
            points = np.random.default_rng(3).uniform(part.model.lower, part.model.upper, (2000, 2))
            assert (prop.violation(points, net(points)) >= 0).mean() < 0.02 + 4 * math.sqrt(0.02 / 2000)


def test_several_regions_with_several_half_spaces():
    two = Conjunction(np.array([[-1.0], [1.0]]), np.zeros((2, 2)), np.array([-0.9, 1.1]))
    low, high = (np.array(c) for c in unit(2))
    regions = (Region(low, high, (two,)), Region(low + 2, high + 2, (two,)))
    found = rs.characterise(sum_network(2), Property(regions, 2, 1), epsilon=0.02, eta=0.01, leaves=12)
    assert {box.region for box in found.boxes if box.status == "violated"} == {0}
    assert found.share("safe") >= 0.5


def test_bad_wishes():
    with pytest.raises(SamplingError, match="leaves: expected at least 1"):
        rs.characterise(sum_network(2), at_least(1.5, unit(2)), epsilon=0.1, eta=0.1, leaves=0)
    with pytest.raises(SamplingError, match="51 inputs vary"):
        rs.characterise(sum_network(51), at_least(60, unit(51)), epsilon=0.1, eta=0.1)
    with pytest.raises(SamplingError, match="epsilon: expected"):
        rs.characterise(sum_network(2), at_least(1.5, unit(2)), epsilon=1, eta=0.1)
