"""Numbers beyond what a network's element type holds, seeds, and damaged models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx_models import model
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import (
    DeviceError,
    NetworkError,
    PointSetError,
    PropertyError,
    TreeError,
    UnsupportedOperatorError,
)

WEIGHT = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32)


def dense(element: int = TensorProto.FLOAT) -> onnx.ModelProto:
    kind = helper.tensor_dtype_to_np_dtype(element)
    node = helper.make_node("Gemm", ["x", "W", "b"], ["y"])
    return model(
        [node], (1, 2), {"W": WEIGHT.astype(kind), "b": np.array([0.1, -0.2], kind)}, element=element
    )


def network(element: int = TensorProto.FLOAT) -> rs.Network:
    return rs.load_network(dense(element).SerializeToString(), name="net")


@pytest.mark.parametrize("box", [(1e38, 1e39), (1e39, 1e40), (-1e300, 1e300)])
def test_boxes_beyond_the_element_type_are_refused(box: tuple[float, float]) -> None:
    prop = rs.output_range([0, box[0]], [1, box[1]], 0, 2, at_most=0.0)
    with pytest.raises(PropertyError, match=r"1 inputs have bounds beyond 3\.403e\+38.*float32.*X_1"):
        rs.verify(network(), prop)
    # float64 files can be run there
    assert rs.verify(network(TensorProto.DOUBLE), prop).status is rs.VerifyStatus.VIOLATED


def test_points_beyond_the_element_type_are_refused() -> None:
    prop = rs.output_range([0, 0], [1, 1], 0, 2, at_most=1.0)
    points = rs.PointSet(np.array([[0.0, 0.0], [1e39, 0.0]]), np.array([0, 1]))
    with pytest.raises(PointSetError, match=r"points \[1\] have numbers beyond 3\.403e\+38"):
        rs.repair(network(), prop, points=points)
    with pytest.raises(PointSetError, match=r"points \[1\] have numbers"):
        rs.repair(network(), prop, keep=points)


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70])
def test_seeds_have_a_range(seed: int) -> None:
    prop = rs.output_range([0, 0], [1, 1], 0, 2, at_most=1.0)
    with pytest.raises(ValueError, match="seed must be a whole number from 0"):
        rs.verify(network(), prop, seed=seed)
    with pytest.raises(ValueError, match="seed must be a whole number from 0"):
        rs.repair(network(), prop, seed=seed)
    result = CliRunner().invoke(app, ["verify", "n.onnx", "p.vnnlib", "--seed", str(seed)])
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_property_that_asks_nothing_of_the_outputs() -> None:
    text = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
    for index in (0, 1):
        text += f"(assert (>= X_{index} 0))(assert (<= X_{index} 1))"
    with pytest.raises(PropertyError, match=r"asks nothing of the outputs.*assert what"):
        rs.verify(network(), rs.property.parse_property(text))


def test_tensors_stored_twice_are_refused() -> None:
    twice = dense()
    twice.graph.initializer.append(numpy_helper.from_array(WEIGHT + 1, "W"))
    with pytest.raises(NetworkError, match=r"\['W'\] are stored more than once"):
        rs.load_network(twice.SerializeToString())


def test_a_constant_whose_value_is_no_tensor() -> None:
    node = helper.make_node("Constant", [], ["W"])
    node.attribute.append(AttributeProto(name="value", type=AttributeProto.INT, i=3))
    broken = model([node, helper.make_node("MatMul", ["x", "W"], ["y"])], (1, 2))
    with pytest.raises(UnsupportedOperatorError, match="expected a tensor or numbers"):
        rs.load_network(broken.SerializeToString())


@pytest.mark.parametrize("seconds", ["abc", "0", "-1", "nan", "inf"])
def test_the_seconds_between_two_savings(
    seconds: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REPAIRSOLVER_TREE_SECONDS", seconds)
    prop = rs.output_range([0, 0], [1, 1], 0, 2, at_most=100.0)
    with pytest.raises(
        TreeError, match=f"REPAIRSOLVER_TREE_SECONDS is '{seconds}', expected seconds above 0"
    ):
        rs.verify(network(), prop, tree=tmp_path / "t.tree")


@pytest.mark.parametrize("threads", ["abc", "0", "-1", "1.5", "9" * 30])
def test_the_number_of_threads(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPAIRSOLVER_THREADS", threads)
    with pytest.raises(DeviceError, match=f"REPAIRSOLVER_THREADS is '{threads}', expected a whole number"):
        rs.verify(network(), rs.output_range([0, 0], [1, 1], 0, 2, at_most=100.0))


@pytest.mark.parametrize("device", ["nope", "meta"])
def test_devices_that_cannot_compute(device: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{device}' cannot be used here.*use 'cpu'"):
        rs.verify(network(), rs.output_range([0, 0], [1, 1], 0, 2, at_most=100.0), device=device)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"limits": 5}, r"limits must be Limits\(...\), such as Limits\(seconds=60\), got 5"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": True}, "seed must be a whole number, got True"),
        (
            {"points": [[1.0, 2.0]]},
            r"points to repair or to keep must be PointSet\(inputs, labels\) or a file, got list",
        ),
    ],
)
def test_options_of_wrong_types(option: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        rs.repair(network(), rs.output_range([0, 0], [1, 1], 0, 2, at_most=1.0), **option)


@pytest.mark.parametrize("prop", [None, 3, []])
def test_properties_of_wrong_types(prop: Any) -> None:
    with pytest.raises(TypeError, match="property must be a Property or the path of a VNN-LIB file, got "):
        rs.verify(network(), prop)
