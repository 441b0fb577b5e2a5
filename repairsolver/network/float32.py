r"""For which files claims about float32 executions are made, and which inputs such an execution can get.

An execution computes the nodes of the ONNX file one by one, in IEEE 754 float32 with rounding to nearest:
sums in any order, products fused into sums or not, any part of it in higher precision, numbers below
$2^{-126}$ flushed to zero or not, the bias of a layer added by its own node or by the layer before.

The graph of operators stands for the nodes up to rounding: an output entry that sums k products
suffers at most k + `SPARE` roundings each. They cover a bias (1), a division that is done as a product with a
reciprocal (2), and a constant factor that a runtime multiplies into the layer before (1).
"""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, NodeProto

from repairsolver.errors import UnsupportedOperatorError
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import inlined, parse
from repairsolver.network.operators import Curve
from repairsolver.network.ordering import described, in_order
from repairsolver.results import Array

# Nodes that compute nothing: their results are entries of their inputs, constants, or the larger of two.
EXACT = {"Clip", "Concat", "Dropout", "Flatten", "GlobalMaxPool", "Identity", "MaxPool", "Pad", "Relu"}
EXACT |= {"Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
EXACT |= {"Max", "Min", "ReduceMax", "ReduceMin", "Expand", "Gather", "GatherElements", "GatherND", "Tile"}
EXACT |= {"Abs", "DepthToSpace", "SpaceToDepth"}
# Nodes whose roundings are counted.
ROUNDED = {"Add", "AveragePool", "Conv", "ConvTranspose", "Div", "Gemm", "GlobalAveragePool"}
ROUNDED |= {"CumSum", "HardSigmoid", "LeakyRelu", "MatMul", "Mul", "Neg", "PRelu", "ReduceL1", "ReduceMean"}
ROUNDED |= {"ReduceSum", "Sigmoid", "Sub", "Sum", "Tanh"}
# What may be computed from constants alone: every runtime gets the same numbers.
CONSTANT = EXACT | {"Cast", "Constant", "ConstantOfShape"}
SPARE = 5


def require_float32(network: Network) -> None:
    """That a claim about float32 executions can be made.

    Raises:
        UnsupportedOperatorError: it computes in float64, or has nodes whose float32 execution the graph of
            operators does not stand for; lists all of them.
    """
    if network.element != np.float32:
        raise UnsupportedOperatorError(
            f"{network.name}: its numbers are {network.element}, so there is no float32 execution of it; use "
            "arithmetic 'real'"
        )
    graph = inlined(parse(network.model, network.name)).graph
    dependent, refused = {network.input_name}, []
    for node in in_order(graph, network.input_name, network.name):
        reads = [tensor in dependent for tensor in node.input]
        if any(reads):
            dependent.update(node.output)
        if reason := _refusal(node, reads):
            refused.append(f"{described(node)}: {reason}")
    # Nodes that are covered one by one may be read as one operator, whose roundings are not theirs.
    refused += [
        f"{node.layer}: {type(node.operator).__name__.upper()}, also written out, is not covered"
        for node in network.nodes
        if isinstance(node.operator, Curve)
    ]
    if refused:
        raise UnsupportedOperatorError(
            f"{network.name}: the roundings of a float32 execution are not known for\n  "
            + "\n  ".join(refused)
            + f"\nKnown are {', '.join(sorted(EXACT | ROUNDED))}; or use arithmetic 'real'"
        )


def _refusal(node: NodeProto, reads: list[bool]) -> str:
    if not any(reads):
        return "" if node.op_type in CONSTANT else "it computes constants, which runtimes may round otherwise"
    if node.op_type not in EXACT | ROUNDED:
        return "this operator is not covered"
    if node.op_type == "Sum" and not all(reads):
        return "it sums constants and tensors in an order that is not known; use Add nodes"
    factors = {a.name: a.f for a in node.attribute if a.type == AttributeProto.FLOAT}
    if node.op_type == "Gemm" and (factors.get("alpha", 1.0), factors.get("beta", 1.0)) != (1.0, 1.0):
        return f"its factors alpha and beta are {factors}, only 1 is covered"
    return ""


def float32_box(lower: Array, upper: Array) -> tuple[Array, Array]:
    """The ends rounded outward to float32: it contains every number of the box after any rounding of it."""
    with np.errstate(over="ignore"):
        low, high = lower.astype(np.float32), upper.astype(np.float32)
    low = np.where(low > lower, np.nextafter(low, np.float32(-np.inf)), low)
    high = np.where(high < upper, np.nextafter(high, np.float32(np.inf)), high)
    return low.astype(np.float64), high.astype(np.float64)
