"""ONNX nodes as layers: which inputs are tensors, which are weights, and what the attributes mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from layerwise.shapes import RULES
from layerwise.shapes.onnx_operators import BINARY, POINTWISE, REDUCTIONS
from repairsolver.architecture.model import Layer, Shape

WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "Conv": ("", "W", "B"),
    "ConvTranspose": ("", "W", "B"),
    "Gemm": ("", "B", "C"),
    "MatMul": ("", "B"),
    "BatchNormalization": ("", "scale", "B", "input_mean", "input_var"),
    "InstanceNormalization": ("", "scale", "B"),
    "GroupNormalization": ("", "scale", "bias"),
    "LayerNormalization": ("", "Scale", "B"),
    "LSTM": ("", "W", "R", "B"),
    "GRU": ("", "W", "R", "B"),
    "RNN": ("", "W", "R", "B"),
    "Gather": ("data",),
}
"""Operator to the names of its inputs that are weights, by position; the rest are tensors."""


class UntranslatableError(Exception):
    """No rule for the node; the message says why."""


@dataclass(frozen=True)
class Node:
    """A node with its attributes and the constants among its inputs."""

    proto: NodeProto
    name: str
    constants: Mapping[str, npt.NDArray[Any]]
    opset: int

    @property
    def attributes(self) -> dict[str, Any]:
        """Attribute values as plain data."""
        return {a.name: _plain(helper.get_attribute_value(a)) for a in self.proto.attribute}

    def constant(self, place: int) -> npt.NDArray[Any] | None:
        """The constant at an input, if there is one."""
        inputs = self.proto.input
        return self.constants.get(inputs[place]) if place < len(inputs) else None

    def needed(self, place: int, what: str) -> npt.NDArray[Any]:
        """The constant at an input; raises `UntranslatableError`."""
        found = self.constant(place)
        if found is None:
            raise UntranslatableError(f"{what} is computed, not stored")
        return found

    def layer(self, kind: str, args: Mapping[str, Any], places: tuple[int, ...] = (0,)) -> Layer:
        """The layer that reads the tensors at these inputs."""
        weights = {}
        for place, name in enumerate(WEIGHTS.get(self.proto.op_type, ())):
            value = self.constant(place) if name else None
            if value is not None:
                weights[name] = tuple(value.shape)
        sources = tuple(self.proto.input[place] for place in places)
        return Layer(self.name, kind, dict(args), sources, weights, stated=dict(args))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return tuple(value) if isinstance(value, list) else value


def layer_of(node: Node) -> Layer:
    """The layer of a node; raises `UntranslatableError` where there is no rule for it."""
    translate = _TRANSLATE.get(node.proto.op_type)
    if translate is None:
        raise UntranslatableError("no rule")
    return translate(node)


def _picked(node: Node, kind: str) -> dict[str, Any]:
    """The attributes that the rule reads."""
    names = RULES["onnx"][kind].names
    return {name: value for name, value in node.attributes.items() if name in names}


def _conv(node: Node) -> Layer:
    weight, group = node.needed(1, "the weight"), node.attributes.get("group", 1)
    op, dims = node.proto.op_type, weight.ndim - 2
    kind = f"{op}{dims}d"
    if kind not in RULES["onnx"]:
        raise UntranslatableError(f"a weight with {weight.ndim} axes")
    if op == "ConvTranspose" and node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise UntranslatableError("auto_pad of a transposed convolution")
    first, second = weight.shape[:2]
    wide, deep = (second * group, first) if op == "Conv" else (first, second * group)
    args = {"kernel_shape": tuple(weight.shape[2:]), **_picked(node, kind)}
    return node.layer(kind, {"in_channels": wide, "out_channels": deep, **args})


def _pool(node: Node) -> Layer:
    kind = f"{node.proto.op_type}{len(node.attributes.get('kernel_shape', ()))}d"
    if kind not in RULES["onnx"]:
        raise UntranslatableError("no kernel_shape of one to three numbers")
    return node.layer(kind, _picked(node, kind))


def _gemm(node: Node) -> Layer:
    if node.attributes.get("transA"):
        raise UntranslatableError("transA moves the batch axis")
    weight, turned = node.needed(1, "the weight"), node.attributes.get("transB", 0)
    wide, deep = weight.shape[::-1] if turned else weight.shape
    layer = node.layer("Gemm", {"in_features": wide, "out_features": deep, "transB": turned})
    # A bias of another form broadcasts, and says nothing of the width.
    kept = {
        name: shape
        for name, shape in layer.weights.items()
        if name == "B" or (len(shape) == 1 and shape != (1,))
    }
    return Layer(layer.name, layer.kind, layer.args, layer.inputs, kept, layer.stated)


def _matmul(node: Node) -> Layer:
    weight = node.constant(1)
    if node.constant(0) is not None:
        raise UntranslatableError("a constant on the left")
    if weight is None:
        return node.layer("MatMul", {}, (0, 1))
    if weight.ndim != 2:
        raise UntranslatableError(f"a constant with {weight.ndim} axes")
    return node.layer("MatMulConstant", {"in_features": weight.shape[0], "out_features": weight.shape[1]})


def _binary(node: Node) -> Layer:
    op, inputs = node.proto.op_type, node.proto.input
    fixed = [place for place in range(len(inputs)) if node.constant(place) is not None]
    if not fixed:
        return (
            node.layer(op, {}, tuple(range(len(inputs)))) if len(inputs) > 1 else node.layer("Identity", {})
        )
    if len(inputs) != 2 or len(fixed) != 1:
        raise UntranslatableError("several constants")
    shape = tuple(node.needed(fixed[0], "the constant").shape)
    layer = node.layer(f"{op}Constant", {"constant": shape}, (1 - fixed[0],))
    return Layer(
        layer.name, layer.kind, layer.args, layer.inputs, {"constant": shape} if shape else {}, layer.stated
    )


def _channels(node: Node) -> Layer:
    scale = node.needed(1, "the scale")
    return node.layer(node.proto.op_type, {"num_features": int(scale.size)})


def _group_norm(node: Node) -> Layer:
    if node.opset < 21:
        raise UntranslatableError("before opset 21 its scale is per group: convert the model")
    args = {
        "num_groups": node.attributes.get("num_groups", 1),
        "num_channels": int(node.needed(1, "the scale").size),
    }
    return node.layer("GroupNormalization", args)


def _layer_norm(node: Node) -> Layer:
    scale = tuple(node.needed(1, "the scale").shape)
    return node.layer(
        "LayerNormalization", {"axis": node.attributes.get("axis", -1), "normalized_shape": scale}
    )


def _recurrent(node: Node) -> Layer:
    weight = node.needed(1, "the weight")
    if node.attributes.get("layout") or any(node.proto.output[1:]):
        raise UntranslatableError("another layout, or final states as outputs")
    hidden = node.attributes.get("hidden_size", node.needed(2, "the weight").shape[-1])
    args = {"input_size": weight.shape[-1], "hidden_size": hidden, "directions": weight.shape[0]}
    return node.layer(node.proto.op_type, args)


def _flatten(node: Node) -> Layer:
    if node.attributes.get("axis", 1) != 1:
        raise UntranslatableError("an axis other than 1 moves the batch axis")
    return node.layer("Flatten", {})


def _reshape(node: Node) -> Layer:
    target = tuple(int(n) for n in node.needed(1, "the shape"))
    if not target:
        raise UntranslatableError("a target without axes")
    return node.layer("Reshape", {"shape": target})


def _transpose(node: Node) -> Layer:
    perm = node.attributes.get("perm")
    if perm is None:
        raise UntranslatableError("without perm it moves the batch axis")
    return node.layer("Transpose", {"perm": perm})


def _listed(node: Node) -> tuple[int, ...]:
    """Axes, as an attribute or as an input."""
    axes = node.attributes.get("axes")
    if axes is None:
        axes = tuple(int(n) for n in node.needed(1, "the list of axes"))
    if 0 in axes:
        raise UntranslatableError("axis 0 is the batch")
    return tuple(axes)


def _axes(node: Node) -> Layer:
    args = {"axes": _listed(node), "keepdims": node.attributes.get("keepdims", 1)}
    kind = node.proto.op_type
    return node.layer(
        kind, {name: value for name, value in args.items() if name in RULES["onnx"][kind].names}
    )


def _pad(node: Node) -> Layer:
    pads = node.attributes.get("pads")
    if pads is None:
        pads = tuple(int(n) for n in node.needed(1, "the list of pads"))
    rank = len(pads) // 2
    if len(node.proto.input) > 3 or not rank or pads[0] or pads[rank]:
        raise UntranslatableError("pads on chosen axes, or on the batch")
    return node.layer("Pad", {"pads": (*pads[1:rank], *pads[rank + 1 :])})


def _resize(node: Node) -> Layer:
    scales = node.needed(2 if node.proto.op_type == "Resize" else 1, "the scales").tolist()
    if len(scales) < 2 or scales[0] != 1 or any(s != int(s) for s in scales):
        raise UntranslatableError("scales that are no whole numbers, or sizes instead of scales")
    return node.layer("Resize", {"scales": tuple(int(s) for s in scales[1:])})


def _softmax(node: Node) -> Layer:
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1)
    if axis == 0:
        raise UntranslatableError("axis 0 is the batch")
    return node.layer(node.proto.op_type, {"axis": axis})


def _concat(node: Node) -> Layer:
    axis = node.attributes["axis"]
    if axis == 0 or any(node.constant(place) is not None for place in range(len(node.proto.input))):
        raise UntranslatableError("along the batch, or with a constant")
    if len(node.proto.input) == 1:
        return node.layer("Identity", {})
    return node.layer("Concat", {"axis": axis}, tuple(range(len(node.proto.input))))


def _gather(node: Node) -> Layer:
    table = node.needed(0, "the table")
    if table.ndim != 2 or node.attributes.get("axis", 0):
        raise UntranslatableError("anything but rows of a table")
    return node.layer("Gather", {"rows": table.shape[0], "columns": table.shape[1]}, (1,))


def _as_is(node: Node) -> Layer:
    kind = node.proto.op_type
    return node.layer(kind, _picked(node, kind))


_TRANSLATE: dict[str, Callable[[Node], Layer]] = {
    **dict.fromkeys(POINTWISE.split(), _as_is),
    **dict.fromkeys(BINARY.split(), _binary),
    **dict.fromkeys(REDUCTIONS.split(), _axes),
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "DepthToSpace", "SpaceToDepth"), _as_is),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _channels),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _axes),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Gemm": _gemm,
    "MatMul": _matmul,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Pad": _pad,
    "Concat": _concat,
    "Gather": _gather,
}


def stored_constants(
    nodes: list[NodeProto], stored: Mapping[str, npt.NDArray[Any]]
) -> Iterator[tuple[str, Any]]:
    """Initialisers and the values of Constant nodes."""
    from onnx import numpy_helper

    yield from stored.items()
    for node in nodes:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                value = helper.get_attribute_value(attribute)
                whole = numpy_helper.to_array(value) if attribute.name == "value" else np.asarray(value)
                yield node.output[0], whole


__all__ = ["WEIGHTS", "Node", "Shape", "UntranslatableError", "layer_of", "stored_constants"]
