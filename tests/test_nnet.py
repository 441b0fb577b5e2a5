"""NNet files: with their normalisation, without it, and broken in every line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from onnx_models import random_points, run

from repairsolver.errors import NetworkError, PropertyError
from repairsolver.network import load_network, replace_parameters
from repairsolver.network.operators import Dense, Relu, Scale
from repairsolver.property import check_fits, output_range

TEXT = """// a comment
// another one
2,2,1,3,
2,3,1,
0,
-1.0,-2.0,
1.0,2.0,
0.5,1.0,10.0,
2.0,4.0,5.0,
1.0,0.5,
-1.0,0.25,
0.0,2.0,
0.5,
-0.25,
0.0,
1.0,-1.0,0.5,
0.125,
"""


def by_hand(points: np.ndarray) -> np.ndarray:
    """The bare network of TEXT."""
    hidden = np.maximum(points @ np.array([[1, -1, 0], [0.5, 0.25, 2]]) + [0.5, -0.25, 0], 0)
    return hidden @ np.array([[1], [-1], [0.5]]) + 0.125


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "small.nnet"
    file.write_text(TEXT)
    return file


def test_the_bare_layers(path: Path) -> None:
    network = load_network(path, normalise=False)
    points = random_points(2)
    assert [type(node.operator) for node in network.nodes] == [Dense, Relu, Dense]
    assert network.name == "small"
    np.testing.assert_allclose(network(points), by_hand(points), rtol=1e-12)


def test_the_normalisation(path: Path) -> None:
    network = load_network(path)
    points = random_points(2)
    expected = by_hand((points - [0.5, 1.0]) / [2, 4]) * 5 + 10
    assert [type(node.operator) for node in network.nodes] == [Scale, Scale, Dense, Relu, Dense, Scale, Scale]
    np.testing.assert_allclose(network(points), expected, rtol=1e-12)
    np.testing.assert_allclose(run(network.model, points, (1, 2)), expected, rtol=1e-5)


def test_inputs_whose_limits_are_left_out_are_unlimited(path: Path) -> None:
    path.write_text(TEXT.replace("-1.0,-2.0,\n1.0,2.0,", "-1.0,\n1.0,"))
    network = load_network(path)
    check_fits(output_range([0, -100], [1, 100], 0, 1, at_most=1.0), network)
    with pytest.raises(PropertyError, match="the NNet file small is for"):
        check_fits(output_range([2, 0], [3, 1], 0, 1, at_most=1.0), network)


def test_layers_can_be_edited(path: Path) -> None:
    network = replace_parameters(load_network(path, normalise=False), {"bias2": np.array([1.0])})
    np.testing.assert_allclose(network(np.zeros(2)), by_hand(np.zeros((1, 2)))[0] + 0.875)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("2,2,1,3,", "2,2,1", r"line 3: expected 4 numbers .*, got 3"),
        ("2,2,1,3,", "0,2,1,3", "at least one layer"),
        ("2,3,1,", "2,3,2,", r"do not go from 2 inputs to 1 outputs"),
        ("2,3,1,", "2,-3,1,", r"layer sizes \[2, -3, 1\]"),
        ("2,3,1,", "2,3,", r"line 4: expected 3 numbers \(the layer sizes\), got 2"),
        ("0.5,1.0,10.0,", "0.5,1.0,", r"line 8: expected 3 numbers \(the means\)"),
        ("2.0,4.0,5.0,", "2.0,0.0,5.0,", "range of the normalisation is 0"),
        (
            "-1.0,0.25,",
            "-1.0,abc,",
            r"line 11: expected numbers with commas, row 2 of the weights of layer 1: .*abc",
        ),
        ("-1.0,0.25,", "-1.0,nan,", r"line 11: row 2 of the weights of layer 1 contain NaN"),
        ("-1.0,0.25,", "-1.0,0.25,3.0", r"line 11: expected 2 numbers"),
        ("0.125,\n", "", "ends where bias 1 of layer 2 should follow"),
        ("0.125,\n", "0.125,\n7.0\n", "line 18: expected the end"),
        (TEXT, "", "ends where the numbers of layers"),
        (TEXT, "\xff\xfe", "not an NNet file"),
    ],
)
def test_broken_files_name_the_line_and_what_was_expected(
    path: Path, before: str, after: str, message: str
) -> None:
    path.write_text(TEXT.replace(before, after), encoding="latin-1")
    with pytest.raises(NetworkError, match=message):
        load_network(path)


def test_a_property_in_other_units_is_refused(path: Path) -> None:
    prop = output_range([2.0, 0.0], [3.0, 1.0], output=0, outputs=1, at_most=1.0)
    told = r"region 1 has X_0 in \[2, 3\], but the NNet file small is for \[-1, 1\]"
    with pytest.raises(PropertyError, match=told):
        check_fits(prop, load_network(path))
    check_fits(prop, load_network(path, normalise=False))


@pytest.mark.data
@pytest.mark.skipif("REPAIRSOLVER_DATA" not in os.environ, reason="REPAIRSOLVER_DATA is not set")
def test_acas_xu_is_the_same_network_in_both_formats() -> None:
    folder = Path(os.environ["REPAIRSOLVER_DATA"], "acasxu")
    text = load_network(next(folder.glob("nnet/*2_9_*.nnet")), normalise=False)
    onnx = load_network(next(folder.glob("onnx/*2_9_*.onnx")))
    for one, other in zip(text.affine_layers, onnx.affine_layers, strict=True):
        np.testing.assert_array_equal(one.operator.weight, other.operator.weight)
        np.testing.assert_array_equal(one.operator.bias, other.operator.bias)
