"""Violations with known probability: y = sum of the inputs is large in a corner of the unit cube."""

from __future__ import annotations

from math import factorial

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from repairsolver.network import Network, load_network
from repairsolver.property import Conjunction, Property, Region


def sum_network(inputs: int, *, double: bool = False) -> Network:
    """y = x_1 + ... + x_n; in float64 if corners are so small that float32 numbers are coarse in them."""
    element, dtype = (TensorProto.DOUBLE, np.float64) if double else (TensorProto.FLOAT, np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", element, (1, inputs))],
        [helper.make_tensor_value_info("y", element, (1, 1))],
        [numpy_helper.from_array(np.ones((inputs, 1), dtype), "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return load_network(model.SerializeToString(), name=f"sum of {inputs}")


def corner(inputs: int, depth: float) -> tuple[Property, float]:
    """Violated where the sum is at least `inputs - depth`: volume depth^n / n!, for depth <= 1."""
    row = Conjunction(np.array([[-1.0]]), np.zeros((1, inputs)), np.array([depth - inputs]))
    region = Region(np.zeros(inputs), np.ones(inputs), (row,))
    return Property((region,), inputs, 1, name=f"corner {depth:g}"), depth**inputs / factorial(inputs)


def depth_for(inputs: int, probability: float) -> float:
    """The depth of the corner with this probability."""
    return float((probability * factorial(inputs)) ** (1 / inputs))
