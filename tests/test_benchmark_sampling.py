"""The benchmark of sampling: its known probabilities, its rows and its picture."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from benchmarks.record import Recorder
from benchmarks.sampling import calibration
from benchmarks.sampling.corners import corner, depth_for, sum_network
from benchmarks.sampling.plot import draw


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
