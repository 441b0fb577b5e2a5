"""Operators whose inputs are all known while loading: computed once, with the origin of weights kept."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from repairsolver.network.lowering.builder import Constant, RefusedError, Value, affordable
from repairsolver.network.operators import Source

MOVES_NOTHING = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout"})


FOLDED = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "BatchNormalization",
        "Cast",
        "Ceil",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "Div",
        "Dropout",
        "Equal",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Gemm",
        "Greater",
        "Identity",
        "Less",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
"""What is computed while loading: deterministic, and without sub-graphs."""
SHAPE_INPUTS = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}


def constant_of(tensor: TensorProto, name: str) -> Constant:
    """A stored tensor as a value."""
    try:
        return Constant(numpy_helper.to_array(tensor), Source(name))
    except (ValueError, TypeError, KeyError) as error:
        raise RefusedError(f"the stored tensor {name!r} cannot be read: {error}") from error


def fold(node: NodeProto, inputs: Sequence[Constant | None], opset: int) -> list[Value | None]:
    """The outputs of a node with constant inputs."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Constant":
        return [stored(node, attributes)]
    if node.op_type not in FOLDED:
        raise RefusedError("this operator is not supported")
    grown = inputs[SHAPE_INPUTS[node.op_type]] if node.op_type in SHAPE_INPUTS else None
    if grown is not None:
        affordable(tuple(int(d) for d in grown.value.reshape(-1)))
    arrays = evaluate(node, [None if x is None else x.value for x in inputs], opset)
    return [Constant(arrays[0], origin(node, inputs, arrays[0])), *map(Constant, arrays[1:])]


def stored(node: NodeProto, attributes: dict[str, Any]) -> Constant:
    """The value of a Constant node, from whichever attribute holds it."""
    if isinstance(attributes.get("value"), TensorProto):
        return constant_of(attributes["value"], node.output[0])
    for name, kind in (("value_float", np.float32), ("value_floats", np.float32)):
        if name in attributes:
            return Constant(np.asarray(attributes[name], kind))
    for name in ("value_int", "value_ints"):
        if name in attributes:
            return Constant(np.asarray(attributes[name], np.int64))
    raise RefusedError(f"it holds {sorted(attributes)}, expected a tensor or numbers")


def origin(node: NodeProto, inputs: Sequence[Constant | None], result: NDArray[Any]) -> Source | None:
    """Where the entries of a folded tensor are stored, if the node only arranged a stored one anew."""
    first = inputs[0] if inputs else None
    if first is None or first.source is None or result.size != first.value.size:
        return None
    if node.op_type == "Transpose" and result.ndim == 2:
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [1, 0])
        turned = first.source.transposed != (order == [1, 0])
        return replace(first.source, transposed=turned)
    flat = max(result.shape, default=1) == result.size and max(first.shape, default=1) == result.size
    keeps = node.op_type == "Identity" or result.shape == first.shape or flat
    return first.source if node.op_type in MOVES_NOTHING and keeps else None


def evaluate(node: NodeProto, arrays: Sequence[NDArray[Any] | None], opset: int) -> list[NDArray[Any]]:
    """The outputs of one node, by the reference implementation of onnx."""
    from onnx.reference import ReferenceEvaluator

    given = {name: array for name, array in zip(node.input, arrays, strict=True) if array is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "folded", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            results = ReferenceEvaluator(model).run(None, given)
        except Exception as error:
            raise RefusedError(f"its constant inputs cannot be evaluated ({error})") from error
    return [np.asarray(result) for result in results]
