"""What overflows in a runtime is not proved: real arithmetic says nothing about it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import repairsolver as rs
from repairsolver.errors import NetworkError
from repairsolver.network import load_network, replay
from repairsolver.network.graph import Network


def chain(
    weights: list[NDArray[np.floating]], biases: list[NDArray[np.floating]] | None = None, kind: int = 1
) -> Network:
    """Dense layers with ReLU between them, in float32 (kind 1) or float64 (kind 11)."""
    element = helper.tensor_dtype_to_np_dtype(kind)
    nodes, stored, x = [], [], "x"
    for k, weight in enumerate(weights):
        bias = np.zeros(len(weight)) if biases is None else biases[k]
        stored += [
            numpy_helper.from_array(a.astype(element), f"{n}{k}") for n, a in (("W", weight), ("b", bias))
        ]
        nodes.append(helper.make_node("Gemm", [x, f"W{k}", f"b{k}"], [f"h{k}"], transB=1))
        x = f"h{k}"
        if k < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [x], [f"r{k}"]))
            x = f"r{k}"
    ends = [
        helper.make_tensor_value_info(name, kind, [1, n])
        for name, n in (("x", weights[0].shape[1]), (x, len(weights[-1])))
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return load_network(model.SerializeToString())


def identities(*factors: float) -> list[NDArray[np.floating]]:
    return [factor * np.eye(2) for factor in factors]


@pytest.mark.parametrize("inputs", [2, 20])
def test_real_numbers_would_be_safe_where_the_file_gives_infinities(inputs: int) -> None:
    """Both ways to a proof, with few inputs and with many."""
    network = chain([1e20 * np.eye(2, inputs), *identities(1e18, 1e-18, 1e-20)])
    prop = rs.output_range([0.0] * inputs, [10.0] * inputs, output=0, outputs=2, at_most=20.0)
    with np.errstate(over="ignore"):
        assert not np.isfinite(replay(network, np.full((1, inputs), 5.0))).any()
    with pytest.raises(NetworkError, match="may overflow"):
        rs.verify(network, prop)
    # On a box where the file does not overflow the same network is proved.
    near = rs.output_range([0.0] * inputs, [1e-7] * inputs, output=0, outputs=2, at_most=20.0)
    assert rs.verify(network, near).status == "holds"


def test_float64_files_have_a_wider_range() -> None:
    prop = rs.output_range([0.0, 0.0], [10.0, 10.0], output=0, outputs=2, at_most=20.0)
    wide = chain(identities(1e20, 1e18, 1e-18, 1e-20), kind=TensorProto.DOUBLE)
    assert rs.verify(wide, prop).status == "holds"
    with pytest.raises(NetworkError, match="may overflow"):
        rs.verify(chain(identities(1e200, 1e107, 1e-107, 1e-200), kind=TensorProto.DOUBLE), prop)


def test_intervals_that_grow_with_depth_do_not_refuse_what_linear_bounds_enclose() -> None:
    """230 rotations by 45 degrees around (10, 10): intervals grow to 1e34, no number exceeds 20."""
    turn = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    centre = np.full(2, 10.0)
    network = chain([turn] * 230, [centre - turn @ centre] * 230)
    prop = rs.output_range([9.0, 9.0], [11.0, 11.0], output=0, outputs=2, at_most=20.0)
    assert rs.verify(network, prop).status == "holds"
