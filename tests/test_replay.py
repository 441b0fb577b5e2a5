"""onnxruntime on the network's own file: in batches where rows are independent, else one by one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import model, one_node, random_points, run

from repairsolver.errors import NetworkError
from repairsolver.network import load_network, replay
from repairsolver.network.replay import batched, session

node = helper.make_node
random = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("batch", "expected"), [("N", True), (None, True), (1, False)])
def test_batches_follow_the_first_axis(batch: str | int | None, expected: bool) -> None:
    proto = one_node("Gemm", (batch, 3), "x", floats(3, 4), floats(4))
    network = load_network(proto.SerializeToString())
    assert batched(network.model, network.input_shape) is expected
    points = random_points(3, 40)
    found = replay(network, points)
    np.testing.assert_allclose(found, run(network.model, points, (1, 3)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found, network(points), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "proto",
    [
        one_node("Softmax", ("N", 3), axis=0, opset=13),
        one_node("ReduceMean", ("N", 3), axes=[0], opset=13),
        one_node("Reshape", ("N", 3), "x", np.array([1, 3])),
        one_node("MatMul", ("N", 3), floats(4, 1), "x"),
        one_node("Transpose", ("N", 3)),
    ],
    ids=lambda proto: proto.graph.node[0].op_type,
)
def test_rows_that_depend_on_each_other_are_run_one_by_one(proto: object) -> None:
    network = load_network(proto.SerializeToString())
    assert not batched(network.model, network.input_shape)
    points = random_points(3, 5)
    np.testing.assert_array_equal(replay(network, points), run(network.model, points, (1, 3)))


def test_points_are_cast_to_the_element_type() -> None:
    network = load_network(one_node("Identity", (1, 2)).SerializeToString())
    np.testing.assert_array_equal(replay(network, np.array([[0.1, 0.2]])), np.float32([[0.1, 0.2]]))
    double = load_network(one_node("Identity", (1, 2), element=TensorProto.DOUBLE).SerializeToString())
    np.testing.assert_array_equal(replay(double, np.array([[0.1, 0.2]])), [[0.1, 0.2]])


def test_a_fixed_first_axis_that_is_not_one() -> None:
    network = load_network(one_node("Relu", (2, 3)).SerializeToString())
    points = random_points(6, 4)
    np.testing.assert_array_equal(replay(network, points), np.maximum(points, 0))


def test_no_points_and_wrong_points() -> None:
    network = load_network(one_node("Gemm", (1, 3), "x", floats(3, 4), floats(4)).SerializeToString())
    assert replay(network, np.zeros((0, 3))).shape == (0, 4)
    for shape in [(2, 4), (3,), (1, 1, 3)]:
        with pytest.raises(NetworkError, match="3 entries each"):
            replay(network, np.zeros(shape))


def test_one_session_per_model() -> None:
    network = load_network(one_node("Relu", ("N", 3)).SerializeToString())
    assert session(network.model) is session(bytes(bytearray(network.model)))
    assert session(network.model).get_session_options().intra_op_num_threads == 1


def test_many_points_come_back_in_order() -> None:
    nodes = [node("Gemm", ["x", "W"], ["y"])]
    network = load_network(model(nodes, ("N", 2), {"W": floats(2, 2)}).SerializeToString())
    points = random_points(2, 3_000_000 // 2)
    np.testing.assert_allclose(replay(network, points), network(points), rtol=1e-5, atol=1e-5)
