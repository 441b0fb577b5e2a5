"""The layer graph of an ONNX file: one sample, without the batch axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto, numpy_helper

from repairsolver.architecture.model import Layer, Model, Shape, build
from repairsolver.architecture.onnx_graph.nodes import Node, UntranslatableError, layer_of, stored_constants
from repairsolver.architecture.opaque import OPAQUE, Opaque, is_opaque, made_opaque
from repairsolver.architecture.spelling import instead
from repairsolver.errors import ArchitectureError


def read_onnx(
    source: str | Path | ModelProto, *, input_shape: Sequence[int] | None = None, opaque: Opaque | None = None
) -> Model:
    """The layer graph of an ONNX model; `Model.source` keeps the file's content for the way back.

    The first axis of every tensor is the batch. Declared output shapes are demands that a repair may give up.

    Args:
        source: a file, or the parsed model.
        input_shape: sizes of its one input where the file leaves some open, without the batch axis.
        opaque: nodes or operators that are taken to have a stated output shape; None: that of their input.

    Raises:
        ArchitectureError: nodes without a rule, all listed; sizes that are not known; no output.
    """
    proto = source if isinstance(source, ModelProto) else _load(Path(source))
    if not proto.graph.output:  # protobuf takes an empty file for a model
        name = "the model" if isinstance(source, ModelProto) else source
        raise ArchitectureError(f"{name} has no graph with an output; expected a whole ONNX model")
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    constants = dict(stored_constants(list(proto.graph.node), stored))
    inputs = dict(_inputs(proto, stored, input_shape))
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 1)
    layers: list[Layer] = []
    problems: list[str] = []
    made = {name: name for name in inputs}
    for number, node in enumerate(_computing(proto), start=1):
        name = node.name or f"{node.op_type}_{number}"
        try:
            layers.append(_layer(Node(node, name, constants, opset), made, opaque or {}))
        except UntranslatableError as error:
            problems.append(f"{name}: {node.op_type} ({error})")
        if again := sorted(set(node.output) & ({*made, *stored} - {""})):
            problems.append(f"{name}: {node.op_type} (defined before: {', '.join(again)})")
        made |= {output: name for output in node.output if output}
    if problems:
        raise ArchitectureError(
            f"nodes without a rule: {', '.join(problems)}; simplify the model, or declare them opaque"
        )
    stated = dict(inputs)
    layers = made_opaque(layers, stated, opaque or {})
    model = build("onnx", stated, layers, dict(_outputs(proto, made)))
    return replace(model, redeclare=True, source=proto, opaque=frozenset(stated) - set(inputs))


def _load(path: Path) -> ModelProto:
    try:
        return onnx.load(path)
    except OSError as error:
        raise ArchitectureError(
            f"{path}: cannot be read: {error}; name an existing ONNX or JSON file that you may read"
        ) from error
    except Exception as error:  # the protobuf library raises its own kinds
        raise ArchitectureError(f"{path} is no ONNX file: {error}; export or copy it again") from error


def _computing(proto: ModelProto) -> Iterator[NodeProto]:
    yield from (node for node in proto.graph.node if node.op_type != "Constant")


def _layer(node: Node, made: Mapping[str, str], opaque: Opaque) -> Layer:
    proto = node.proto
    if is_opaque(node.name, proto.op_type, opaque):
        tensors = tuple(made[name] for name in proto.input if name in made)
        return Layer(node.name, OPAQUE, {"kind": proto.op_type}, tensors)
    if proto.domain not in ("", "ai.onnx"):
        raise UntranslatableError(f"of the operator set {proto.domain!r}, not of the standard one")
    if onnx.defs.has(proto.op_type, node.opset, ""):
        _check_schema(proto, onnx.defs.get_schema(proto.op_type, node.opset, ""))
    layer = layer_of(node)
    missing = [name for name in layer.inputs if name not in made]
    if missing:
        raise UntranslatableError(f"inputs that nothing computes: {', '.join(missing)}")
    return replace(layer, inputs=tuple(made[name] for name in layer.inputs))


def _check_schema(proto: NodeProto, schema: onnx.defs.OpSchema) -> None:
    if len(proto.input) > schema.max_input:
        raise UntranslatableError(f"{len(proto.input)} inputs, expected at most {schema.max_input}")
    for attribute in proto.attribute:
        if attribute.name not in schema.attributes:
            right = instead(attribute.name, schema.attributes)
            raise UntranslatableError(f"no attribute {attribute.name!r}, {right}")


def _inputs(
    proto: ModelProto, stored: Mapping[str, npt.NDArray[Any]], wanted: Sequence[int] | None
) -> Iterator[tuple[str, Shape]]:
    entries = [entry for entry in proto.graph.input if entry.name not in stored]
    if wanted is not None and len(entries) != 1:
        raise ArchitectureError(
            f"input_shape needs one input, the model has {', '.join(e.name for e in entries)}"
        )
    for entry in entries:
        if wanted is not None:
            yield entry.name, tuple(wanted)
            continue
        sizes = _sizes(entry)
        if not sizes:
            raise ArchitectureError(f"input {entry.name} has no axis for the batch; state input_shape")
        open_ = [
            f"axis {i} ({size or 'unknown'})"
            for i, size in enumerate(sizes[1:], 1)
            if not isinstance(size, int)
        ]
        if open_:
            raise ArchitectureError(
                f"input {entry.name}: unknown sizes: {', '.join(open_)}; state input_shape without the batch"
            )
        yield entry.name, tuple(int(size) for size in sizes[1:])


def _sizes(entry: ValueInfoProto) -> list[int | str]:
    dims = entry.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in dims]


def _outputs(proto: ModelProto, made: Mapping[str, str]) -> Iterator[tuple[str, Shape | None]]:
    for entry in proto.graph.output:
        if entry.name not in made:
            raise ArchitectureError(f"output {entry.name} is computed by no node")
        sizes = _sizes(entry)
        known = len(sizes) > 0 and all(isinstance(size, int) and size > 0 for size in sizes[1:])
        yield made[entry.name], tuple(int(size) for size in sizes[1:]) if known else None
