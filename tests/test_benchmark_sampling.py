"""The benchmark of sampling: its known probabilities, its rows and its picture."""

from __future__ import annotations

import csv
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.record import Recorder
from benchmarks.sampling import calibration, wide
from benchmarks.sampling.corners import corner, depth_for, sum_network
from benchmarks.sampling.plot import draw
from repairsolver.sampling.sampler import sample_property
from repairsolver.sampling.splitting import estimate_rare_event


@pytest.mark.parametrize("inputs", [2, 3, 5])
def test_corners_have_the_volume_stated(inputs):
    prop, exact = corner(inputs, depth_for(inputs, 0.008))
    assert exact == pytest.approx(0.008)
    points = np.random.default_rng(0).random((200_000, inputs))
    seen = (prop.violation(points, sum_network(inputs)(points)) >= 0).mean()
    assert abs(seen - exact) < 5 * np.sqrt(exact / len(points))


def test_rows_count_what_is_wrong(monkeypatch):
    monkeypatch.setattr(calibration, "RUNS", 5)
    below = calibration._runs("sequential", 0.25, 0.05, 0)
    above = calibration._runs("fixed", 10.0, 0.05, 0)
    assert (below["accepted"], below["wrong"]) == (5, 0.0)
    assert (above["rejected"], above["wrong"]) == (5, 0.0)
    assert set(below) == set(calibration.CALIBRATION)


def test_simulated_runs_end_as_the_test_says(monkeypatch):
    monkeypatch.setattr(calibration, "POWER_RUNS", 20)
    row = next(calibration.power(0))
    assert set(row) == set(calibration.POWER)
    assert row["accepted"] == row["runs"]
    assert 6905 < row["mean_samples"] < 8000


def test_the_picture_is_drawn(tmp_path):
    cal = Recorder(tmp_path / "calibration.csv", calibration.CALIBRATION)
    cal.add(dict.fromkeys(calibration.CALIBRATION, 0.05) | {"test": "fixed"})
    cal.add(dict.fromkeys(calibration.CALIBRATION, 0.05) | {"test": "sequential"})
    Recorder(tmp_path / "power.csv", calibration.POWER).add(dict.fromkeys(calibration.POWER, 2.0))
    draw(tmp_path)
    assert (tmp_path / "power.png").stat().st_size > 1000
    with (tmp_path / "calibration.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_irwin_hall_against_simulation():
    assert wide.irwin_hall(3, Fraction(1, 2)) == pytest.approx(0.5**3 / 6)
    sums = np.random.default_rng(0).random((200_000, 10)).sum(axis=1)
    assert wide.irwin_hall(10, Fraction(4)) == pytest.approx((sums <= 4).mean(), abs=5e-3)


@pytest.mark.parametrize("name", wide.CASES)
def test_wide_events_have_the_probability_stated(name):
    """Plain samples of the same events in 20 dimensions and at a probability that they can see."""
    event = wide.CASES[name][0](20, 0.05)
    found = sample_property(
        event.network, event.prop, epsilon=0.5, eta=1e-6, distribution=event.distribution, sequential=False,
        samples=100_000,
    )  # fmt: skip
    assert found.lower < event.exact < found.upper


@pytest.mark.parametrize("name", ["half-space", "two half-spaces"])
def test_splitting_in_784_dimensions(name):
    """A few hundred particles find what a sample of ten thousand would meet once."""
    event = wide.CASES[name][0](784, 1e-4)
    found = estimate_rare_event(
        event.network, event.prop, distribution=event.distribution, particles=200, repetitions=6, moves=5
    )
    assert abs(found.probability - event.exact) < 4 * found.standard_error
    assert found.standard_error < 0.5 * event.exact
