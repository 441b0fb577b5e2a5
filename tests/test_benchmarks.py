"""The benchmarks' bookkeeping, and the published optima that they must reach."""

from __future__ import annotations

import csv
import os
from functools import partial

import numpy as np
import pytest

from benchmarks.bigm_build.__main__ import build as build_big_m
from benchmarks.bigm_build.__main__ import layer_bounds, random_layers
from benchmarks.collision_repair.boxes import accuracy, load_boxes, load_labelled
from benchmarks.delta_size.measuring import WRONG, instance
from benchmarks.delta_size.measuring import measure as measure_size
from benchmarks.mnist_points.__main__ import kept_images
from benchmarks.mnist_points.plot import plot as plot_points
from benchmarks.record import Recorder, data_folder, machine
from benchmarks.watermark.__main__ import build, load, tasks
from benchmarks.watermark.plot import plot as plot_watermarks
from repairsolver.network import load_network
from repairsolver.solvers import solve


def test_rows_are_on_disk_at_once_and_a_run_resumes(tmp_path):
    path = tmp_path / "deep" / "rows.csv"
    recorder = Recorder(path, ("name", "value"), seed=3)
    recorder.add({"name": "a", "value": np.float64(0.1)})
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["name"], row["value"], row["seed"]) == ("a", "0.1", "3")
    assert row["versions"].startswith("python-")
    resumed = Recorder(path, ("name", "value"), seed=3, resume=True)
    assert resumed.has(name="a")
    assert not resumed.has(name="b")
    resumed.add({"name": "b", "value": 2})
    assert len(path.read_text().splitlines()) == 3
    with pytest.raises(ValueError, match="other columns"):
        Recorder(path, ("name", "speed"), resume=True)
    Recorder(path, ("name", "speed"))
    assert len(path.read_text().splitlines()) == 1


def test_machine_tells_processor_and_versions():
    facts = machine()
    assert "cores" in facts["machine"]
    assert f"numpy-{np.__version__}" in facts["versions"]


def test_missing_data_folder_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv("REPAIRSOLVER_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="REPAIRSOLVER_DATA"):
        data_folder("watermark_lpar20")


def test_the_measured_big_m_model_is_the_network():
    layers, center = random_layers((4, 6, 5, 2), 1), np.full(4, 0.5)
    bounds = layer_bounds(layers, center)
    best = -solve(build_big_m(layers, bounds, center)).objective
    rng = np.random.default_rng(0)
    z = center + rng.uniform(-0.05, 0.05, (20_000, 4))
    for i, (weight, bias) in enumerate(layers):
        z = z @ weight.T + bias
        z = np.maximum(z, 0) if i < 2 else z
    sampled = (z[:, 0] - z[:, 1]).max()
    assert sampled <= best + 1e-7
    assert best - sampled < 0.05


@pytest.mark.data
@pytest.mark.skipif("REPAIRSOLVER_DATA" not in os.environ, reason="REPAIRSOLVER_DATA is not set")
@pytest.mark.parametrize(("norm", "count", "width"), [("linf", 501, 1e-6), ("l1", 500, 5e-4)])
def test_watermark_optima_are_the_published_ones(norm, count, width):
    folder = data_folder("watermark_lpar20")
    marks, found = load(folder), tasks(folder, norm)
    assert len(found) == count
    for task in found:
        if task.sample == 0:
            answer = solve(build(marks, task.chosen, norm))
            assert answer.objective == pytest.approx(task.published, rel=width), task.k
            assert answer.objective <= task.published * (1 + 1e-6)
            assert task.lower is None or answer.objective > task.lower


@pytest.mark.parametrize(("width", "classes", "points"), [(16, 3, 20), (40, 30, 60)])
def test_sizes_are_measured_on_changes_that_suffice(width, classes, points):
    row = measure_size(width, classes, points, "l1", 60.0, 0)
    assert row["status"] == "optimal"
    assert row["missed"] == 0
    assert row["lower_bound"] == pytest.approx(row["cost"], rel=1e-6)
    assert 1 <= row["rows_used"] <= points * (classes - 1)
    network, given = instance(width, classes, points, 0)
    wrong = network(given.inputs).argmax(axis=1) != given.labels
    assert wrong.sum() == max(1, round(WRONG * points))


@pytest.mark.data
def test_collision_boxes_are_those_of_the_data():
    if not os.environ.get("REPAIRSOLVER_DATA"):
        pytest.skip("REPAIRSOLVER_DATA does not name the benchmark data folder")
    folder = data_folder("collision_detection")
    boxes = load_boxes(folder)
    assert (len(boxes), sum(box.violated for box in boxes)) == (500, 172)
    network = load_network(folder / "onnx" / "collision_detection.onnx")
    points, labels = load_labelled(folder)
    assert accuracy(network, points, labels) == pytest.approx(0.9987, abs=1e-4)
    rng = np.random.default_rng(0)
    for box in boxes:
        (region,) = box.prop.regions
        inside = rng.uniform(region.lower, region.upper, (200, 6))
        if not box.violated:
            assert (box.prop.violation(inside, network(inside)) < 0).all()


def test_plots_are_small_repeatable_and_name_what_they_show(tmp_path):
    points = tmp_path / "points.csv"
    points.write_text(
        "network,corruption,layer,drawdown,generalisation\n"
        "mnist_relu_3_100,fog,gemm0,0.001,0.32\nmnist_relu_3_100,fog,gemm1,None,None\n"
        "mnist_relu_3_100,attack,gemm2,0.5,0.1\n"
    )
    marks = tmp_path / "linf.csv"
    marks.write_text("k,status,cost\n1,optimal,0.3\n1,optimal,0.4\n2,timeout,\n")
    for draw, results in ((plot_points, points), (partial(plot_watermarks, norm="linf"), marks)):
        first, second = tmp_path / "first.svg", tmp_path / "second.svg"
        draw(results, first)
        draw(results, second)
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size < 150_000
    plot_points(points, tmp_path / "points.svg")
    text = (tmp_path / "points.svg").read_text()
    assert "3x100, gemm0" in text
    assert "APRNN (published)" in text
    assert "gemm1" not in text  # nothing was measured
    assert "gemm2" not in text  # of another corruption than the published numbers
    assert "LPAR 2020" in second.read_text()


def test_mnist_images_to_keep_are_the_last_ones_but_for_every_nth() -> None:
    assert kept_images(3, 10, 0).tolist() == [7, 8, 9]
    assert kept_images(4, 10, 3).tolist() == [4, 5, 7, 8]
    assert kept_images(0, 10, 3).size == 0
    with pytest.raises(ValueError, match="7 images to keep, and 6 that may be"):
        kept_images(7, 10, 3)
