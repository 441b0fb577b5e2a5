"""From a checked ONNX model to the graph of operators: sort, fold constants, lower, prune."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, shape_inference

from repairsolver.errors import NetworkError, UnsupportedOperatorError
from repairsolver.network.fusing import fused
from repairsolver.network.graph import Network, Node
from repairsolver.network.lowering import LOWERINGS, SUPPORTED
from repairsolver.network.lowering.branching import asked_of, branched, outside
from repairsolver.network.lowering.builder import (
    LARGEST,
    Builder,
    Call,
    Condition,
    Constant,
    Element,
    Guard,
    RefusedError,
    Result,
    Shape,
    Tensor,
    Value,
    identity,
)
from repairsolver.network.lowering.condition import ARRANGING, CONDITIONAL, NEVER, arranged
from repairsolver.network.lowering.folding import constant_of, fold
from repairsolver.network.onnx_file import inlined, opset_of
from repairsolver.network.operators import Softmax
from repairsolver.network.ordering import branches, described, in_order, reads

ELEMENTS: dict[int, Element] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
}


def import_model(model: ModelProto, data: bytes, *, name: str, input_shape: Sequence[int] | None) -> Network:
    """The network that a model with one output means, by structure alone.

    Args:
        model: the parsed model; `data` are its bytes, which the network carries.
        input_shape: lengths for the axes without a value, 1 where not given.

    Raises:
        UnsupportedOperatorError: lists every node that cannot be represented, and why.
        NetworkError: the graph is malformed.
    """
    opset, readable = opset_of(model, name), inlined(model)
    graph = readable.graph
    entry = the_input(graph, name)
    element = the_element(entry, graph.output[0], name)
    shape = the_shape(entry, input_shape, name)
    nodes = fused(in_order(graph, entry.name, name), graph)
    reader = Reader(readable, Builder(entry.name, shape, element), opset, nodes, name)
    result = reader.run()
    return Network(
        nodes=pruned(reader.builder, result, graph.output[0].name, name),
        input_name=entry.name,
        input_shape=shape,
        element=element,
        model=data,
        name=name,
        metadata={p.key: p.value for p in model.metadata_props},
    )


def the_input(graph: GraphProto, name: str) -> ValueInfoProto:
    """The one input that is not an initialiser."""
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if len(inputs) != 1:
        names = [value.name for value in inputs]
        raise NetworkError(
            f"{name}: expected a model with one input, got {len(inputs)}: {names}; export it with one, which "
            "it takes apart itself"
        )
    return inputs[0]


def the_element(entry: ValueInfoProto, output: ValueInfoProto, name: str) -> Element:
    """float32 or float64, the same for input and output."""
    kinds = [value.type.tensor_type.elem_type for value in (entry, output)]
    if kinds[0] not in ELEMENTS or kinds[1] not in (kinds[0], 0):
        known = {value: key for key, value in TensorProto.DataType.items()}
        got = [known.get(kind, str(kind)) for kind in kinds]
        raise NetworkError(
            f"{name}: input {entry.name!r} and output {output.name!r} must both be FLOAT or both DOUBLE, "
            f"got {got}: export the network in float32, with its scores as output"
        )
    return ELEMENTS[kinds[0]]


def the_shape(entry: ValueInfoProto, wanted: Sequence[int] | None, name: str) -> Shape:
    """The input's shape; axes without a value become 1, or what `wanted` says."""
    if not entry.type.tensor_type.HasField("shape"):
        if wanted is None:
            raise NetworkError(
                f"{name}: input {entry.name!r} has no shape in the file; give input_shape=(...)"
            )
        declared: list[int] = [0] * len(wanted)
    else:
        declared = [max(0, int(d.dim_value)) for d in entry.type.tensor_type.shape.dim]
    if wanted is not None and not fits(wanted, declared):
        raise NetworkError(
            f"{name}: input_shape {tuple(wanted)} does not fit input {entry.name!r} of shape "
            f"{[d or '?' for d in declared]}"
        )
    shape = tuple(wanted) if wanted is not None else tuple(d or 1 for d in declared)
    if prod(shape) > LARGEST:
        raise NetworkError(
            f"{name}: input {entry.name!r} of shape {list(shape)} has more than {LARGEST} entries"
        )
    return shape


def fits(wanted: Sequence[int], declared: Sequence[int]) -> bool:
    return len(wanted) == len(declared) and all(
        w > 0 and d in (0, w) for w, d in zip(wanted, declared, strict=True)
    )


@dataclass
class Reader:
    """Lowers nodes one after another and collects everything that it has to refuse.

    Args:
        absent: inputs for which nothing has to be said: truths that hold only there are left out.
    """

    model: ModelProto
    builder: Builder
    opset: int
    nodes: list[NodeProto]
    name: str
    values: dict[str, Result] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    absent: Guard = NEVER

    def run(self) -> Result:
        """The value of the output."""
        self.values[self.builder.input.node] = self.builder.input
        output = self.model.graph.output[0].name
        uses = Counter(t for node in self.nodes for t in reads(node))
        uses[output] += 1
        self.read_initialisers(self.model.graph, uses)
        for node in self.nodes:
            self.read(node, uses)
        self.check_finite()
        self.check_softmax(output)
        if self.refused:
            count = f"{len(self.refused)} nodes are" if len(self.refused) > 1 else "1 node is"
            raise UnsupportedOperatorError(
                f"{self.name}: {count} not supported:\n  "
                + "\n  ".join(self.refused)
                + f"\nSupported operators: {', '.join(SUPPORTED)}"
            )
        return self.values[output]

    def read_initialisers(self, graph: GraphProto, uses: Mapping[str, int]) -> None:
        tensors = [t for t in graph.initializer if uses[t.name]]
        huge = [t.name for t in tensors if prod(t.dims) > LARGEST]
        if huge:
            raise NetworkError(f"{self.name}: tensors {huge} have more than {LARGEST} entries")
        try:
            self.values.update({tensor.name: constant_of(tensor, tensor.name) for tensor in tensors})
        except RefusedError as reason:
            raise NetworkError(f"{self.name}: {reason}") from reason

    def read(self, node: NodeProto, uses: Mapping[str, int]) -> None:
        """Put the outputs of one node into `values`, or note why not."""
        inputs = [self.values.get(t) if t else None for t in node.input]
        lost = any(t and self.values.get(t) is None for t in reads(node))
        outputs: Sequence[Result | None]
        try:
            outputs = self.lower(node, inputs, uses, lost)
        except RefusedError as reason:
            self.refused.append(f"{described(node)}: {reason}")
            outputs = [self.stand_in(t) for t in node.output]
        found = {t: v for t, v in zip(node.output, outputs, strict=False) if v is not None}
        if self.absent:
            found = {t: outside(v, self.absent) for t, v in found.items()}
        self.values.update(found)

    def lower(
        self, node: NodeProto, inputs: Sequence[Result | None], uses: Mapping[str, int], lost: bool
    ) -> Sequence[Result | None]:
        """The outputs of one node: folded, lowered, or refused; none where an input was lost before."""
        if node.domain not in ("", "ai.onnx"):
            raise RefusedError(f"it belongs to the operator set {node.domain!r}, not to the standard one")
        if node.op_type == "If":
            return [] if lost else self.branches(self.call(node, inputs, uses), uses)
        constants = [v for v in inputs if v is None or isinstance(v, Constant)]
        if not lost and len(constants) == len(inputs):
            return fold(node, constants, self.opset)
        conditional = any(isinstance(v, Condition) for v in inputs)
        if conditional and not lost and node.op_type in ARRANGING:
            return arranged(node, inputs, self.opset)
        table = CONDITIONAL if conditional else LOWERINGS
        if lost and node.op_type in CONDITIONAL:
            return []  # what was lost may have been a truth value
        if node.op_type not in table:
            what = "does not take truth values" if conditional else "is not supported"
            raise RefusedError(f"this operator {what}")
        if lost:
            return []
        try:
            return table[node.op_type](self.call(node, inputs, uses))
        except (ValueError, IndexError, TypeError) as error:
            raise RefusedError(f"its attributes do not fit its inputs ({error})") from error

    def call(self, node: NodeProto, inputs: Sequence[Result | None], uses: Mapping[str, int]) -> Call:
        private = tuple(uses[t] == 1 for t in node.input)
        wanted = frozenset(t for t in node.output if uses[t])
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        return Call(self.builder, node, tuple(inputs), private, wanted, self.opset, attributes)

    def branches(self, call: Call, uses: Mapping[str, int]) -> list[Result]:
        """The outputs of an If node: its two graphs are read as if they were written out here."""
        graphs = branches(call.node)
        missing = {"then_branch", "else_branch"} - graphs.keys()
        if missing:
            raise RefusedError(f"it has no {' and no '.join(sorted(missing))}")
        refused = len(self.refused)
        then, otherwise = (self.inside(graphs[name], uses) for name in ("then_branch", "else_branch"))
        if len(self.refused) > refused:
            return []
        if {len(then), len(otherwise)} != {len(call.node.output)}:
            raise RefusedError(f"its branches make {len(then)} and {len(otherwise)} tensors")
        # Where the condition fails, guards of the first branch that imply it fail, too.
        spare = replace(self, refused=[], absent=asked_of(call))
        idle = spare.inside(graphs["then_branch"], uses) if spare.absent else []
        return branched(call, then, otherwise, idle or [None] * len(then))

    def inside(self, graph: GraphProto, uses: Mapping[str, int]) -> list[Result]:
        """What a graph inside of a node computes, with names of its own; nothing if a node is refused."""
        nodes, outputs = list(graph.node), [value.name for value in graph.output]
        own = Counter(t for node in nodes for t in reads(node)) + Counter(outputs)
        reader = replace(self, nodes=nodes, values=dict(self.values))
        refused = len(self.refused)
        reader.read_initialisers(graph, own)
        for node in nodes:
            reader.read(node, own + Counter(uses))
        reader.check_finite()
        if len(self.refused) > refused:
            return []
        undefined = [name for name in outputs if name not in reader.values]
        if undefined:
            raise RefusedError(f"its branch does not compute {undefined}")
        return [reader.values[name] for name in outputs]

    @cached_property
    def inferred(self) -> dict[str, Shape]:
        """The shapes of numbers that onnx infers, needed only to judge nodes behind a refused one.

        Truth values have none: they are lost behind a refused node, as no tensor can stand in for them.
        """
        try:
            graph = shape_inference.infer_shapes(self.model).graph
        except (shape_inference.InferenceError, ValueError):
            return {}
        return {
            value.name: tuple(d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
            for value in (*graph.value_info, *graph.output)
            if value.type.tensor_type.HasField("shape")
            and value.type.tensor_type.elem_type != TensorProto.BOOL
        }

    def stand_in(self, tensor: str) -> Value | None:
        """A tensor of the right shape in place of a refused one, so that later nodes are judged too."""
        shape = self.inferred.get(tensor)
        if shape is None or not 0 < prod(shape) <= LARGEST or min(shape, default=1) < 1:
            return None
        return self.builder.emit(tensor, identity(prod(shape)), [self.builder.input], shape, tensor)

    def check_finite(self) -> None:
        """Weights must be finite; only the ends of a Clip may be infinite."""
        ends = {t for n in self.nodes if n.op_type == "Clip" for t in n.input[1:]}
        bad = sorted(
            name
            for name, value in self.values.items()
            if isinstance(value, Constant) and name not in ends and not is_finite(value.value)
        )
        if bad:
            raise NetworkError(f"{self.name}: tensors {bad} contain NaN or infinite values; export it again")

    def check_softmax(self, output: str) -> None:
        """Softmax is represented as the last operator only."""
        last = self.values.get(output)
        for name, node in self.builder.nodes.items():
            if isinstance(node.operator, Softmax) and not (isinstance(last, Tensor) and last.node == name):
                self.refused.append(f"Softmax node {node.layer!r}: it is only supported as the last operator")


def is_finite(value: NDArray[Any]) -> bool:
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


def pruned(builder: Builder, result: Result, output: str, name: str) -> tuple[Node, ...]:
    """The nodes that the result needs; it is the last of them."""
    if not isinstance(result, Tensor):
        what = "is a truth value" if isinstance(result, Condition) else "does not depend on the input"
        raise NetworkError(f"{name}: the output {output!r} {what}")
    if result.node == builder.input.node:
        result = builder.emit(output, identity(result.size), [result], result.shape, output)
    needed, pending = set[str](), [result.node]
    while pending:
        node = pending.pop()
        if node in builder.nodes and node not in needed:
            needed.add(node)
            pending.extend(builder.nodes[node].inputs)
    return tuple(node for key, node in builder.nodes.items() if key in needed)
