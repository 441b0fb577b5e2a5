"""Pictures of decision regions: the grid, the chosen outputs, and a file that is a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import repairsolver as rs
from repairsolver.network import replace_parameters
from repairsolver.report.slice import Axis, Slice, chosen, draw_slices

DEMO = Path(rs.__file__).parent / "demo"


def plane(resolution: int) -> Slice:
    base = np.array([0.1, 0.2, 0.3, 0.4])
    return Slice(
        base, Axis(2, -1.0, 1.0, "heading", scale=180.0, shift=180.0), Axis(0, 0.0, 0.5, "d"), resolution
    )


def test_grid_covers_the_plane_row_by_row() -> None:
    points = plane(3).points()
    assert points.shape == (9, 4)
    assert np.array_equal(points[:, 1], np.full(9, 0.2))
    assert points[:3, 2].tolist() == [-1.0, 0.0, 1.0]
    assert points[::3, 0].tolist() == [0.0, 0.25, 0.5]
    assert plane(3).x.ends == (0.0, 360.0)


def test_chosen_is_the_best_output_of_each_grid_point() -> None:
    net = rs.load_network(DEMO / "controller.onnx")
    grid = plane(5)
    outputs = rs.replay(net, grid.points()).reshape(5, 5, -1)
    assert np.array_equal(chosen(net, grid, "min"), outputs.argmin(axis=2))
    assert np.array_equal(chosen(net, grid, "max"), outputs.argmax(axis=2))


def test_draw_slices_writes_a_picture(tmp_path: Path) -> None:
    net = rs.load_network(DEMO / "controller.onnx")
    prop = rs.load_property(DEMO / "head_on.vnnlib")
    box = prop.regions[0]
    found = rs.Counterexample(box.upper, net(box.upper), 0.0)
    repaired = replace_parameters(net, {"layer5.bias": np.arange(5, dtype=np.float32)})
    file = tmp_path / "slice.png"
    draw_slices(
        net, repaired, plane(20), file, decision="min", prop=prop, counterexamples=[found], title="a title"
    )
    assert file.read_bytes().startswith(b"\x89PNG")
