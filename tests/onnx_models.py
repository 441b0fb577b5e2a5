"""Small ONNX models, and what onnxruntime makes of them: the oracle of the network tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Dim = int | str | None


def model(
    nodes: Sequence[NodeProto],
    shape: Sequence[Dim],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
    element: int = TensorProto.FLOAT,
    constant_nodes: bool = False,
) -> ModelProto:
    """A model with input x of a shape; constants become initialisers, or Constant nodes."""
    constants = constants or {}
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    made = [helper.make_node("Constant", [], [t.name], value=t) for t in stored] if constant_nodes else []
    graph = helper.make_graph(
        [*made, *nodes],
        "test",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info(name, element, None) for name in outputs],
        [] if constant_nodes else stored,
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))


def one_node(
    operator: str,
    shape: Sequence[Dim],
    *inputs: str | np.ndarray,
    opset: int = 17,
    results: int = 1,
    element: int = TensorProto.FLOAT,
    constant_nodes: bool = False,
    **attributes: Any,
) -> ModelProto:
    """A model of one node; inputs are "x", "" for one left out, or constants. Default: x alone."""
    names = [item if isinstance(item, str) else f"c{i}" for i, item in enumerate(inputs or ("x",))]
    constants = {f"c{i}": item for i, item in enumerate(inputs) if not isinstance(item, str)}
    outputs = ["y", *(f"y{i}" for i in range(1, results))]
    node = helper.make_node(operator, names, outputs, name="node", **attributes)
    return model(
        [node], shape, constants, opset=opset, outputs=outputs, element=element, constant_nodes=constant_nodes
    )


def run(data: bytes, points: np.ndarray, shape: Sequence[int], output: str | None = None) -> np.ndarray:
    """Outputs [b, m] by onnxruntime, point by point."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    element = np.float64 if entry.type == "tensor(double)" else np.float32
    names = [output or session.get_outputs()[0].name]
    rows = [session.run(names, {entry.name: p.astype(element).reshape(shape)})[0] for p in points]
    return np.array([np.asarray(row, np.float64).reshape(-1) for row in rows])


def random_points(size: int, count: int = 6, seed: int = 0) -> np.ndarray:
    """Points whose entries are float32 numbers, about half of them negative."""
    values = 2 * np.random.default_rng(seed).standard_normal((count, size))
    return values.astype(np.float32).astype(np.float64)
