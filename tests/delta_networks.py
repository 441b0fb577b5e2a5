"""Small networks with an editable last layer, for the tests of repairs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from onnx import helper
from onnx_models import model

from repairsolver.network import Network, load_network


def dense_network(
    seed: int, sizes: tuple[int, ...] = (2, 6, 3), *, tail: str = "", transposed: bool = False
) -> Network:
    """Random Gemm layers with ReLU between them; `tail` is an operator behind the last one."""
    rng = np.random.default_rng(seed)
    constants: dict[str, np.ndarray] = {}
    nodes, current = [], "x"
    for k, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight = rng.normal(size=(outputs, inputs) if not transposed else (inputs, outputs))
        constants[f"W{k}"] = weight.astype(np.float32)
        constants[f"b{k}"] = rng.normal(size=outputs).astype(np.float32) * 0.3
        last = k == len(sizes) - 2
        out = "y" if last and not tail else f"z{k}"
        attributes = {} if transposed else {"transB": 1}
        nodes.append(
            helper.make_node("Gemm", [current, f"W{k}", f"b{k}"], [out], name=f"layer{k}", **attributes)
        )
        current = out
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"h{k}"], name=f"relu{k}"))
            current = f"h{k}"
    if tail:
        nodes.append(helper.make_node(tail, [current], ["y"], name="tail"))
    return load_network(model(nodes, (1, sizes[0]), constants).SerializeToString(), name="small")


def conv_network(seed: int) -> Network:
    """A convolution whose output is flattened, scaled and gathered: a linear tail."""
    rng = np.random.default_rng(seed)
    constants = {
        "K0": rng.normal(size=(4, 1, 3)).astype(np.float32),
        "K1": rng.normal(size=(2, 2, 2)).astype(np.float32),
        "c1": rng.normal(size=2).astype(np.float32),
        "scale": np.array([2.0], dtype=np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "K0"], ["z0"], name="first"),
        helper.make_node("Relu", ["z0"], ["h0"]),
        helper.make_node(
            "Conv", ["h0", "K1", "c1"], ["z1"], name="second", group=2, strides=[2], pads=[1, 0]
        ),
        helper.make_node("Flatten", ["z1"], ["f"]),
        helper.make_node("Mul", ["f", "scale"], ["y"]),
    ]
    return load_network(model(nodes, (1, 1, 7), constants).SerializeToString(), name="convolution")
