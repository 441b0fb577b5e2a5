"""A network whose probabilities are known: y = sum of the inputs, on boxes (corners are simplices)."""

from __future__ import annotations

from math import factorial

import numpy as np
from onnx import TensorProto, helper
from onnx_models import model

from repairsolver.network import Network, load_network
from repairsolver.property import Conjunction, Property, Region


def sum_network(inputs: int, *, batch: int | str = 1, element: int = TensorProto.FLOAT) -> Network:
    """y = x_1 + ... + x_n."""
    dtype = np.float32 if element == TensorProto.FLOAT else np.float64
    nodes = [helper.make_node("MatMul", ["x", "W"], ["y"], name="sum")]
    proto = model(nodes, (batch, inputs), {"W": np.ones((inputs, 1), dtype)}, element=element)
    return load_network(proto.SerializeToString(), name=f"sum{inputs}")


def at_least(threshold: float, *boxes: tuple[list[float], list[float]]) -> Property:
    """Violated where y >= threshold, in boxes."""
    inputs = len(boxes[0][0])
    unsafe = (Conjunction(np.array([[-1.0]]), np.zeros((1, inputs)), np.array([-threshold])),)
    regions = tuple(Region(np.array(low), np.array(high), unsafe) for low, high in boxes)
    return Property(regions, inputs, 1, name=f"sum below {threshold:g}")


def unit(inputs: int) -> tuple[list[float], list[float]]:
    return [0.0] * inputs, [1.0] * inputs


def corner(inputs: int, depth: float) -> float:
    """P(sum of `inputs` uniform numbers >= inputs - depth) = depth^n / n!, for depth <= 1."""
    return depth**inputs / factorial(inputs)
