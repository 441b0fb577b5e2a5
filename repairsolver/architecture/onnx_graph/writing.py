"""Edits written into an ONNX model; weights are kept where they fit and listed where they do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, checker, helper, numpy_helper

from repairsolver.architecture.diagnosis import diagnose_model
from repairsolver.architecture.edits import Edit, apply_edits
from repairsolver.architecture.model import Model, Shape
from repairsolver.architecture.onnx_graph.nodes import WEIGHTS
from repairsolver.errors import ArchitectureError

IMPLIED = ("in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels")
"""Arguments that no attribute states: the shapes of the weights do."""
AS_INPUT = {"Reshape": ("shape", 1), "Pad": ("pads", 1), "Squeeze": ("axes", 1), "Unsqueeze": ("axes", 1)}


@dataclass(frozen=True)
class Refit:
    """What became of given weights.

    Args:
        layer: its name.
        weight: the weight's name in the operator.
        before: the given shape.
        after: the shape that is written.
        how: kept share in words.
    """

    layer: str
    weight: str
    before: Shape
    after: Shape
    how: str

    def __str__(self) -> str:
        return f"{self.layer}: weight {self.weight} {self.before} → {self.after}: {self.how}"


@dataclass
class _Draft:
    proto: ModelProto
    nodes: dict[str, NodeProto]
    refits: list[Refit] = field(default_factory=list)
    inserted: int = 0
    flow: dict[tuple[str, int], str] = field(default_factory=dict)

    def store(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initialiser under a name that is not taken."""
        taken = {t.name for t in self.proto.graph.initializer}
        free = (
            name
            if name not in taken
            else next(f"{name}_{n}" for n in range(2, 10**6) if f"{name}_{n}" not in taken)
        )
        self.proto.graph.initializer.append(numpy_helper.from_array(value, free))
        return free

    def stored(self, name: str) -> npt.NDArray[Any]:
        """The value of an initialiser or of a Constant node."""
        for tensor in self.proto.graph.initializer:
            if tensor.name == name:
                return np.asarray(numpy_helper.to_array(tensor))
        for node in self.proto.graph.node:
            if node.op_type == "Constant" and node.output[0] == name:
                return np.asarray(numpy_helper.to_array(node.attribute[0].t))
        raise ArchitectureError(f"{name} is not stored in the model")


def write_onnx(model: Model, edits: Iterable[Edit]) -> tuple[ModelProto, tuple[Refit, ...]]:
    """The repaired ONNX model, and what became of weights that did not fit.

    Projections that are inserted start as rectangular identities.

    Args:
        model: as it was read, before the edits.
        edits: the repair.

    Raises:
        ArchitectureError: the model was not read from ONNX, or an edit has no counterpart there.
    """
    if not isinstance(model.source, ModelProto):
        raise ArchitectureError(
            "only a model that was read from ONNX can be written as ONNX: write JSON instead"
        )
    proto = ModelProto()
    proto.CopyFrom(model.source)
    computing = [node for node in proto.graph.node if node.op_type != "Constant"]
    names = {node.name or f"{node.op_type}_{i}": node for i, node in enumerate(computing, start=1)}
    draft = _Draft(proto, names)
    edits = tuple(edits)
    for edit in edits:
        _APPLY[edit.operation](draft, model, edit)
    _drop_unused(draft)
    _state_outputs(draft, apply_edits(model, edits))
    del proto.graph.value_info[:]
    checker.check_model(proto)
    return proto, tuple(draft.refits)


def _set(draft: _Draft, model: Model, edit: Edit) -> None:
    node = draft.nodes[edit.layer]
    if edit.name in IMPLIED or edit.name in ("normalized_shape", "constant", "input_size", "rows", "columns"):
        return
    if node.op_type in AS_INPUT and edit.name == AS_INPUT[node.op_type][0]:
        value = _with_batch(node.op_type, edit.value)
        node.input[AS_INPUT[node.op_type][1]] = draft.store(f"{edit.layer}_{edit.name}", value)
        return
    kept = [a for a in node.attribute if a.name != edit.name]
    del node.attribute[:]
    new = list(edit.value) if isinstance(edit.value, tuple) else edit.value
    node.attribute.extend([*kept, helper.make_attribute(edit.name, new)])


def _with_batch(op: str, value: tuple[int, ...]) -> npt.NDArray[np.int64]:
    if op == "Pad":
        half = len(value) // 2
        value = (0, *value[:half], 0, *value[half:])
    return np.asarray(value, dtype=np.int64)


def _insert(draft: _Draft, model: Model, edit: Edit) -> None:
    """A node on one edge, or behind an output."""
    draft.inserted += 1
    name = f"repair_{edit.name.lower()}_{draft.inserted}"
    node = _new_node(draft, edit, name)
    if edit.slot < 0:
        _behind_output(draft, edit.layer, node, name)
        return
    target = draft.nodes[edit.layer]
    place = _places(draft, target)[edit.slot]
    node.input.insert(0, target.input[place])
    target.input[place] = node.output[0]
    draft.proto.graph.node.insert(_index(draft, target), node)


def _new_node(draft: _Draft, edit: Edit, name: str) -> NodeProto:
    """The node without its tensor input."""
    args = {key: value for key, value in edit.value.items() if key not in IMPLIED}
    op, more = edit.name.rstrip("123d") if edit.name.startswith("Conv") else edit.name, []
    if op in AS_INPUT:
        key = AS_INPUT[op][0]
        value = _with_batch(op, tuple(args.pop(key))) if op == "Pad" else np.asarray(args.pop(key), np.int64)
        more.append(draft.store(f"{name}_{key}", value))
    elif op == "Conv":
        shape = (edit.value["out_channels"], edit.value["in_channels"], *edit.value["kernel_shape"])
        weight = np.eye(shape[0], shape[1], dtype=np.float32).reshape(shape)
        more.append(draft.store(f"{name}_W", weight))
    elif op == "Gemm":
        weight = np.eye(edit.value["in_features"], edit.value["out_features"], dtype=np.float32)
        more.append(draft.store(f"{name}_B", weight))
    return helper.make_node(op, more, [f"{name}_output"], name=name, **args)


def _behind_output(draft: _Draft, layer: str, node: NodeProto, name: str) -> None:
    """The graph's output keeps its name; what feeds it is renamed."""
    output = draft.nodes[layer].output[0]
    inner = f"{output}_before_{name}"
    for other in draft.proto.graph.node:
        for i, tensor in enumerate(other.input):
            if tensor == output:
                other.input[i] = inner
        for i, tensor in enumerate(other.output):
            if tensor == output:
                other.output[i] = inner
    node.input.insert(0, inner)
    node.output[0] = output
    draft.proto.graph.node.append(node)
    draft.nodes[layer] = node


def _places(draft: _Draft, node: NodeProto) -> list[int]:
    """Inputs that are tensors."""
    constants = {t.name for t in draft.proto.graph.initializer}
    constants |= {n.output[0] for n in draft.proto.graph.node if n.op_type == "Constant"}
    return [i for i, name in enumerate(node.input) if name and name not in constants]


def _index(draft: _Draft, node: NodeProto) -> int:
    return next(
        i
        for i, other in enumerate(draft.proto.graph.node)
        if other is node or (other.name == node.name and other.output == node.output)
    )


def _remove(draft: _Draft, model: Model, edit: Edit) -> None:
    node = draft.nodes.pop(edit.layer)
    source, gone = node.input[_places(draft, node)[0]], node.output[0]
    for other in draft.proto.graph.node:
        for i, tensor in enumerate(other.input):
            if tensor == gone:
                other.input[i] = source
    graph = draft.proto.graph
    del graph.node[_index(draft, node)]
    if any(entry.name == gone for entry in graph.output):
        graph.node.append(helper.make_node("Identity", [source], [gone], name=f"{edit.layer}_removed"))


def _weights(draft: _Draft, model: Model, edit: Edit) -> None:
    node = draft.nodes[edit.layer]
    place = _weight_place(draft, node, edit.name)
    old = draft.stored(node.input[place])
    new, how = refit(old, edit.value)
    node.input[place] = draft.store(f"{node.input[place]}_repaired", new)
    draft.refits.append(Refit(edit.layer, edit.name, tuple(old.shape), tuple(new.shape), how))


def _weight_place(draft: _Draft, node: NodeProto, name: str) -> int:
    names = WEIGHTS.get(node.op_type, ())
    if name in names:
        return names.index(name)
    tensors = _places(draft, node)
    return next(i for i in range(len(node.input)) if i not in tensors)


def refit(old: npt.NDArray[Any], shape: Shape) -> tuple[npt.NDArray[Any], str]:
    """Given weights in a new shape, and in words what was done with them.

    Axes in another order are transposed; otherwise the common block is kept and the rest is zero.
    """
    for order in permutations(range(old.ndim)):
        if old.ndim == len(shape) and tuple(old.shape[i] for i in order) == tuple(shape):
            return np.ascontiguousarray(old.transpose(order)), f"transposed by {order}, all values kept"
    if old.ndim != len(shape):
        if old.size == prod(shape):
            return old.reshape(shape), "reshaped, all values kept"
        return np.zeros(shape, old.dtype), "none of the values fits, all are zero"
    new = np.zeros(shape, dtype=old.dtype)
    block = tuple(slice(0, min(a, b)) for a, b in zip(old.shape, shape, strict=True))
    new[block] = old[block]
    kept = prod(s.stop for s in block)
    return new, f"{kept} of {old.size} values kept, {new.size - kept} new ones are zero"


def _input(draft: _Draft, model: Model, edit: Edit) -> None:
    for entry in draft.proto.graph.input:
        if entry.name == edit.layer:
            _resize(entry, edit.value)


def _output(draft: _Draft, model: Model, edit: Edit) -> None:
    name = draft.nodes[edit.layer].output[0] if edit.layer in draft.nodes else edit.layer
    for entry in draft.proto.graph.output:
        if entry.name == name:
            _resize(entry, edit.value)


def _resize(entry: Any, shape: Shape) -> None:
    """Other sizes behind the batch."""
    dims = entry.type.tensor_type.shape.dim
    del dims[1:]
    for size in shape:
        dims.add().dim_value = size


def _state_outputs(draft: _Draft, repaired: Model) -> None:
    """Shapes of outputs that declare none."""
    shapes = diagnose_model(repaired).shapes
    for entry, name in zip(draft.proto.graph.output, repaired.outputs, strict=True):
        if not entry.type.tensor_type.HasField("shape"):
            dims = entry.type.tensor_type.shape.dim
            dims.add().dim_param = "batch"
            _resize(entry, shapes[name])


def _rewire(draft: _Draft, model: Model, edit: Edit) -> None:
    target = draft.nodes[edit.layer]
    tensor = draft.nodes[edit.value].output[0] if edit.value in draft.nodes else edit.value
    target.input[_places(draft, target)[edit.slot]] = tensor


def _layout(draft: _Draft, model: Model, edit: Edit) -> None:
    raise ArchitectureError("ONNX has no data format to switch, and no siblings: a kernel states its axes")


def _drop_unused(draft: _Draft) -> None:
    """Initialisers that nothing reads any more."""
    graph = draft.proto.graph
    read = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    names = {tensor.name for tensor in graph.initializer} - {tensor.name for tensor in kept}
    entries = [entry for entry in graph.input if entry.name not in names]
    del graph.initializer[:], graph.input[:]
    graph.initializer.extend(kept)
    graph.input.extend(entries)


_APPLY = {
    "set": _set,
    "insert": _insert,
    "remove": _remove,
    "swap": _layout,
    "rewire": _rewire,
    "weights": _weights,
    "layout": _layout,
    "input": _input,
    "output": _output,
}
