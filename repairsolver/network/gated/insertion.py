"""Gates put into an ONNX file: comparisons of its input, and a choice for each gated tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from repairsolver.errors import EditError
from repairsolver.network.agreement import check_agreement
from repairsolver.network.gated.changes import UNLIMITED, Correction, NewGate, Override
from repairsolver.network.gated.record import Record, records_of, write_records
from repairsolver.network.gated.removal import base64_packed, undone
from repairsolver.network.gated.upgrade import upgraded
from repairsolver.network.graph import Network, Node
from repairsolver.network.onnx_file import opset_of, parse, serialise
from repairsolver.network.onnx_in import import_model
from repairsolver.results import Array

FLAT = 128
"""Entries of a layer up to which constants and affine changes of it are written as one matrix."""

AXES_AS_INPUT = 18
"""From this opset on, reductions take their axes as an input."""


def gateable(network: Network) -> tuple[Node, ...]:
    """The nodes whose tensors can be gated: those that a node of the file makes by that name."""
    made = {tensor for node in parse(network.model, network.name).graph.node for tensor in node.output}
    return tuple(node for node in network.nodes if node.name in made)


def add_gates(network: Network, gates: Sequence[NewGate], *, monitor: bool = False) -> Network:
    """The network with gates, as an ONNX file that any runtime runs.

    Where no gate is on it computes what it computed before. A file with an opset below 13 is raised to 13.

    Args:
        gates: of one tensor, a later one chooses after an earlier one.
        monitor: add an output of truth values, one column for each gate: whether it is on.

    Raises:
        EditError: there is no such tensor, or its first axis does not count inputs.
        NetworkError: the file cannot be raised to opset 13.
    """
    if not gates:
        raise EditError(f"{network.name}: no gates are given")
    model, opset, same = upgraded(network)
    writer = Writer(network, model)
    for gate in gates:
        writer.add(gate)
    name = writer.add_monitor() if monitor else ""
    writer.finish()
    record = Record(
        network.sha256,
        tuple(gates),
        tuple(writer.added),
        tuple(writer.renamed),
        name,
        opset,
    )
    earlier = records_of(network)
    write_records(model, (*earlier, record), network.name)
    # Whether taking out gives the bytes back is tried; where it does not, the file is kept in the record.
    back = undone(model, (*earlier, record), network.name) if same else b""
    if hashlib.sha256(back).hexdigest() != network.sha256:
        record = replace(record, stored=base64_packed(network.model))
        write_records(model, (*earlier, record), network.name)
    data = serialise(model, network.name)
    gated = import_model(parse(data, network.name), data, name=network.name, input_shape=network.input_shape)
    check_agreement(gated)
    return gated


@dataclass(slots=True, eq=False)
class Writer:
    """A model that gates are written into, one after another."""

    network: Network
    model: ModelProto
    added: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    guards: dict[bytes, str] = field(default_factory=dict)
    truths: dict[str, str] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)
    head: list[NodeProto] = field(default_factory=list)
    pending: list[NodeProto] = field(default_factory=list)
    prefix: str = ""
    flat: str = ""

    def __post_init__(self) -> None:
        taken = {tensor for node in self.model.graph.node for tensor in (node.name, *node.output)}
        number = 1
        while any(tensor.startswith(f"gates{number}/") for tensor in taken):
            number += 1
        self.prefix = f"gates{number}/"

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node; the name of its output."""
        name = f"{self.prefix}{operator}{len(self.added)}"
        out = output or name
        self.pending.append(helper.make_node(operator, list(inputs), [out], name=name, **attributes))
        self.added.append(name)
        return out

    def constant(self, values: NDArray[Any]) -> str:
        """A constant as a node: older files would have to list a stored tensor among their inputs."""
        return self.node("Constant", [], value=numpy_helper.from_array(np.ascontiguousarray(values)))

    def floats(self, values: Array, shape: Sequence[int]) -> str:
        limited = np.clip(values, -UNLIMITED, UNLIMITED)
        return self.constant(limited.astype(self.network.element).reshape(tuple(shape)))

    def add(self, gate: NewGate) -> None:
        """One gate: its guard, the changed tensor, and the choice under the tensor's old name."""
        place, producer = self._producer(gate.tensor)
        known = next((node for node in self.network.nodes if node.name == gate.tensor), None)
        if known is None:
            raise EditError(
                f"{self.network.name}: tensor {gate.tensor!r} is no tensor of its graph of operators"
            )
        if self.batched and known.shape[:1] != (1,):
            raise EditError(
                f"{self.network.name}: the first axis of tensor {gate.tensor!r}, of shape {known.shape}, "
                "does not count inputs, so that it cannot be gated input by input"
            )
        before = f"{self.prefix}{gate.tensor}/before{len(self.renamed)}"
        producer.output[:] = [before if tensor == gate.tensor else tensor for tensor in producer.output]
        self.renamed.append((before, gate.tensor))
        inside = self.guard(gate.lower, gate.upper)
        self.conditions.append(inside)
        match gate.change:
            case Override() if gate.change.shifts_only:
                self._shifted(gate.change, before, known.shape, inside, gate.tensor)
            case Override() if gate.change.affine and known.shape == (1, known.size) and known.size <= FLAT:
                self._bent(gate.change, before, known.size, inside, gate.tensor)
            case Override():
                changed = self._overridden(gate.change, before, known.shape)
                fitted = self._fitted(self.truth(inside), len(known.shape))
                self.node("Where", [fitted, changed, before], gate.tensor)
            case Correction():
                self._corrected(gate.change, before, known.shape, inside, gate.tensor)
        nodes = list(self.model.graph.node)
        self._replace([*nodes[: place + 1], *self.pending, *nodes[place + 1 :]])
        self.pending = []

    def _replace(self, nodes: Sequence[NodeProto]) -> None:
        copies = list(nodes)
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)

    def finish(self) -> None:
        """Guards come first: they read nothing but the network's input."""
        self._replace([*self.head, *self.model.graph.node])

    @property
    def batched(self) -> bool:
        """Whether the first axis of the input counts inputs."""
        return len(self.network.input_shape) > 1 and self.network.input_shape[0] == 1

    def _producer(self, tensor: str) -> tuple[int, NodeProto]:
        for place, node in enumerate(self.model.graph.node):
            if tensor in node.output:
                return place, node
        raise EditError(
            f"{self.network.name}: no node of the file makes a tensor {tensor!r}: it cannot be gated"
        )

    def guard(self, lower: Array, upper: Array) -> str:
        """Numbers [N, 1]: 1 where an input lies in one of the boxes [k, n], else 0."""
        key = lower.tobytes() + b"|" + upper.tobytes()
        if key not in self.guards:
            waiting, self.pending = self.pending, []
            x, several = self._flat_input(), len(lower) > 1
            if several:
                x = self.node("Unsqueeze", [x, self.constant(np.array([1]))])
            low = self.node("GreaterOrEqual", [x, self.floats(lower, lower.shape)])
            high = self.node("LessOrEqual", [x, self.floats(upper, upper.shape)])
            element = helper.np_dtype_to_tensor_dtype(self.network.element)
            inside = self.node("Cast", [self.node("And", [low, high])], to=element)
            every = self._reduced("ReduceMin", inside, 2 if several else 1, keep=not several)
            self.guards[key] = self._reduced("ReduceMax", every, 1, keep=True) if several else every
            self.head += self.pending
            self.pending = waiting
        return self.guards[key]

    def truth(self, inside: str) -> str:
        """A guard as truth values [N, 1]."""
        if inside not in self.truths:
            waiting, self.pending = self.pending, []
            self.truths[inside] = self.node("Cast", [inside], to=TensorProto.BOOL)
            self.head += self.pending
            self.pending = waiting
        return self.truths[inside]

    def _flat_input(self) -> str:
        """The input as [N, n]; [1, n] where its first axis does not count inputs."""
        if not self.flat:
            waiting, self.pending = self.pending, []
            name = self.network.input_name
            if self.batched and len(self.network.input_shape) == 2:
                self.flat = name
            elif self.batched:
                self.flat = self.node("Flatten", [name], axis=1)
            else:
                self.flat = self.node("Reshape", [name, self.constant(np.array([1, -1]))])
            self.head += self.pending
            self.pending = waiting
        return self.flat

    def _reduced(self, operator: str, tensor: str, axis: int, *, keep: bool) -> str:
        if opset_of(self.model, self.network.name) >= AXES_AS_INPUT:
            return self.node(operator, [tensor, self.constant(np.array([axis]))], keepdims=int(keep))
        return self.node(operator, [tensor], axes=[axis], keepdims=int(keep))

    def _fitted(self, condition: str, rank: int) -> str:
        """A guard, [N, 1], with as many axes as the tensor has."""
        if rank == 2 and self.batched:
            return condition
        shape = [-1, *[1] * (rank - 1)] if self.batched else [1] * rank
        return self.node("Reshape", [condition, self.constant(np.array(shape, dtype=np.int64))])

    def _shifted(
        self, change: Override, tensor: str, shape: tuple[int, ...], inside: str, output: str
    ) -> None:
        """The tensor and the shifts times 0 or 1: fewer nodes than a choice between two tensors."""
        shift = np.zeros(int(np.prod(shape)))
        shift[change.index] = change.shift
        number = self._fitted(inside, len(shape))
        step = self.node("Mul", [number, self.floats(shift, shape)])
        self.node("Add", [tensor, step], output)

    def _bent(self, change: Override, tensor: str, size: int, inside: str, output: str) -> None:
        """h + g (A h + t) with the guard g, 0 or 1: fewer nodes than a choice; a constant has A = -1."""
        fixed = change.lower == change.upper
        matrix, shift = np.zeros((size, size)), np.zeros((1, size))
        matrix[change.index, change.index] = np.where(fixed, 0.0, change.slope) - 1.0
        shift[0, change.index] = np.where(fixed, change.lower, change.shift)
        moved = self.node(
            "Gemm", [tensor, self.floats(matrix, matrix.shape), self.floats(shift, shift.shape)]
        )
        self.node("Add", [tensor, self.node("Mul", [moved, inside])], output)

    def _overridden(self, change: Override, tensor: str, shape: tuple[int, ...]) -> str:
        size = int(np.prod(shape))

        def whole(values: Array, rest: float) -> Array:
            full = np.full(size, rest)
            full[change.index] = values
            return full

        fixed = change.lower == change.upper
        free = np.where(fixed, 0.0, change.shift)
        slope = np.where(fixed, 1.0, change.slope)
        low, high = np.where(fixed, -np.inf, change.lower), np.where(fixed, np.inf, change.upper)
        if (slope != 1).any():
            tensor = self.node("Mul", [tensor, self.floats(whole(slope, 1.0), shape)])
        if free.any():
            tensor = self.node("Add", [tensor, self.floats(whole(free, 0.0), shape)])
        if np.isfinite(low).any():
            tensor = self.node("Max", [tensor, self.floats(whole(low, -np.inf), shape)])
        if np.isfinite(high).any():
            tensor = self.node("Min", [tensor, self.floats(whole(high, np.inf), shape)])
        if fixed.any():
            mask = whole(fixed.astype(float), 0.0).astype(bool).reshape(shape)
            values = self.floats(whole(np.where(fixed, change.lower, 0.0), 0.0), shape)
            tensor = self.node("Where", [self.constant(mask), values, tensor])
        return tensor

    def _corrected(
        self, change: Correction, tensor: str, shape: tuple[int, ...], inside: str, output: str
    ) -> None:
        """What is missing, times 0 or 1, added to the tensor as [N, m]; and its shape again.

        A product with the guard needs fewer nodes than a choice between two tensors. What is missing is
        written as max(z, 0) - z with z = C y + D x - d: its linear bounds from below are exact, so that the
        half-space is proved whatever z is. Where half-spaces move each other, as a ReLU of -z, whose slopes
        can be optimised.
        """
        plain = len(shape) == 2 and shape[0] == 1
        size = int(np.prod(shape))
        y = tensor if plain else self.node("Reshape", [tensor, self.constant(np.array([-1, size]))])
        sign = -1.0 if change.coupled else 1.0
        bound = self.floats(-sign * change.bound, (1, change.count))
        z = self.node("Gemm", [y, self.floats(sign * change.output.T, (size, change.count)), bound])
        if change.input.any():
            moved = sign * change.input.T
            z = self.node(
                "Add", [z, self.node("MatMul", [self._flat_input(), self.floats(moved, moved.shape)])]
            )
        if change.coupled:
            missing = self.node("Relu", [z])
        else:
            zero = self.floats(np.zeros(change.count), (1, change.count))
            missing = self.node("Sub", [self.node("Max", [z, zero]), z])
        step = self.node("Mul", [missing, inside])
        direction = self.floats(change.direction, change.direction.shape)
        if plain:
            self.node("Gemm", [step, direction, y], output)
            return
        back = np.array([-1, *shape[1:]] if self.batched else shape, dtype=np.int64)
        moved_by = self.node("Reshape", [self.node("MatMul", [step, direction]), self.constant(back)])
        self.node("Add", [tensor, moved_by], output)

    def add_monitor(self) -> str:
        """One more output: which gates are on, [N, g]."""
        name = f"{self.prefix}fired"
        truths = [self.truth(inside) for inside in self.conditions]
        if len(self.conditions) > 1:
            self.node("Concat", truths, name, axis=1)
        else:
            self.node("Identity", truths, name)
        self.model.graph.node.extend(self.pending)
        self.pending = []
        self.model.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.BOOL, ["inputs", len(self.conditions)])
        )
        return name
