"""Gates put into an ONNX file: comparisons of its input, and a choice for each gated tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import TensorProto, helper

from repairsolver.errors import EditError
from repairsolver.network.agreement import check_agreement
from repairsolver.network.gated.changes import Correction, NewGate, Override
from repairsolver.network.gated.guards import Guards
from repairsolver.network.gated.record import Record, records_of, write_records
from repairsolver.network.gated.removal import base64_packed, undone
from repairsolver.network.gated.upgrade import upgraded
from repairsolver.network.gated.writer import Writer
from repairsolver.network.graph import Network, Node
from repairsolver.network.onnx_file import parse, serialise
from repairsolver.network.onnx_in import import_model
from repairsolver.results import Array

FLAT = 128
"""Entries of a layer up to which constants and affine changes of it are written as one matrix."""


def gateable(network: Network) -> tuple[Node, ...]:
    """The nodes whose tensors can be gated: those that a node of the file makes by that name."""
    made = {tensor for node in parse(network.model, network.name).graph.node for tensor in node.output}
    return tuple(node for node in network.nodes if node.name in made)


def add_gates(
    network: Network, gates: Sequence[NewGate], *, monitor: bool = False, asked: str = ""
) -> Network:
    """The network with gates, as an ONNX file that any runtime runs.

    Where no gate is on it computes what it computed before. A file with an opset below 13 is raised to 13.

    Args:
        gates: of one tensor, a later one chooses after an earlier one.
        monitor: add an output of truth values, one column for each gate: whether it is on.
        asked: text of the property that they are for; the file carries it, see `asked_of`.

    Raises:
        EditError: there is no such tensor, or its first axis does not count inputs.
        NetworkError: the file cannot be raised to opset 13.
    """
    if not gates:
        raise EditError(f"{network.name}: no gates are given")
    model, opset, same = upgraded(network)
    writer = Writer(network, model)
    insertion = Insertion(writer, Guards(writer))
    for group in groups(gates):
        insertion.add(group)
    name = insertion.add_monitor() if monitor else ""
    writer.finish()
    record = Record(
        network.sha256,
        tuple(gates),
        tuple(writer.added),
        tuple(writer.renamed),
        name,
        opset,
        asked=base64_packed(asked.encode()) if asked else "",
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


def groups(gates: Sequence[NewGate]) -> Iterator[tuple[NewGate, ...]]:
    """Gates that are written together: corrections of one tensor, one after another, never two of them on."""
    group: list[NewGate] = []
    for gate in gates:
        if group and not all(_together(before, gate) for before in group):
            yield tuple(group)
            group = []
        group.append(gate)
    yield tuple(group)


def _together(first: NewGate, second: NewGate) -> bool:
    a, b = first.change, second.change
    if not isinstance(a, Correction) or not isinstance(b, Correction):
        return False
    meet = (first.lower[:, None] <= second.upper).all(-1) & (second.lower <= first.upper[:, None]).all(-1)
    return first.tensor == second.tensor and a.coupled == b.coupled and not meet.any()


@dataclass(slots=True, eq=False)
class Insertion:
    """Gates that are put into a model, group by group."""

    writer: Writer
    guards: Guards
    groups: list[Sequence[NewGate]] = field(default_factory=list)

    def add(self, gates: Sequence[NewGate]) -> None:
        """Gates of one tensor: their guards, what they change, and the result under the tensor's old name."""
        writer, network, tensor = self.writer, self.writer.network, gates[0].tensor
        place, producer = writer.producer(tensor)
        known = next((node for node in network.nodes if node.name == tensor), None)
        if known is None:
            raise EditError(f"{network.name}: tensor {tensor!r} is no tensor of its graph of operators")
        if writer.batched and known.shape[:1] != (1,):
            raise EditError(
                f"{network.name}: the first axis of tensor {tensor!r}, of shape {known.shape}, "
                "does not count inputs, so that it cannot be gated input by input"
            )
        before = f"{writer.prefix}{tensor}/before{len(writer.renamed)}"
        producer.output[:] = [before if made == tensor else made for made in producer.output]
        writer.renamed.append((before, tensor))
        self.groups.append(gates)
        look = self.guards.look(gates)
        if look is None:
            self._changed(gates, before, known.shape, self.guards.of(gates), tensor)
        else:
            with writer.branch() as then:
                then.result = f"{before}/gated"
                self._changed(gates, before, known.shape, self.guards.behind(look, gates), then.result)
            with writer.branch() as otherwise:
                otherwise.result = writer.node("Identity", [before])
            writer.choice(look[1], (then, otherwise), len(known.shape), tensor)
        writer.put(place)

    def _changed(
        self, gates: Sequence[NewGate], before: str, shape: tuple[int, ...], inside: str, output: str
    ) -> None:
        """The tensor as it is behind gates with these guards."""
        corrections = [gate.change for gate in gates if isinstance(gate.change, Correction)]
        size = int(np.prod(shape))
        flat = shape == (1, size) and size <= FLAT
        match gates[0].change:
            case Override() as change if change.shifts_only:
                self._shifted(change, before, shape, inside, output)
            case Override() as change if change.affine and flat:
                self._bent(change, before, size, inside, output)
            case Override() as change:
                changed = self._overridden(change, before, shape)
                fitted = self._fitted(self.guards.truth(inside), len(shape))
                self.writer.node("Where", [fitted, changed, before], output)
            case Correction():
                self._corrected(corrections, before, shape, inside, output)

    def _fitted(self, condition: str, rank: int) -> str:
        """A guard, [N, 1], with as many axes as the tensor has."""
        if rank == 2 and self.writer.batched:
            return condition
        shape = [-1, *[1] * (rank - 1)] if self.writer.batched else [1] * rank
        return self.writer.node("Reshape", [condition, self.writer.constant(np.array(shape, dtype=np.int64))])

    def _shifted(
        self, change: Override, tensor: str, shape: tuple[int, ...], inside: str, output: str
    ) -> None:
        """The tensor and the shifts times 0 or 1: fewer nodes than a choice between two tensors."""
        shift = np.zeros(int(np.prod(shape)))
        shift[change.index] = change.shift
        number = self._fitted(inside, len(shape))
        step = self.writer.node("Mul", [number, self.writer.floats(shift, shape)])
        self.writer.node("Add", [tensor, step], output)

    def _bent(self, change: Override, tensor: str, size: int, inside: str, output: str) -> None:
        """h + g (A h + t) with the guard g, 0 or 1: fewer nodes than a choice; a constant has A = -1."""
        fixed = change.lower == change.upper
        matrix, shift = np.zeros((size, size)), np.zeros((1, size))
        matrix[change.index, change.index] = np.where(fixed, 0.0, change.slope) - 1.0
        shift[0, change.index] = np.where(fixed, change.lower, change.shift)
        moved = self.writer.node(
            "Gemm", [tensor, self.writer.floats(matrix, matrix.shape), self.writer.floats(shift, shift.shape)]
        )
        self.writer.node("Add", [tensor, self.writer.node("Mul", [moved, inside])], output)

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
            tensor = self.writer.node("Mul", [tensor, self.writer.floats(whole(slope, 1.0), shape)])
        if free.any():
            tensor = self.writer.node("Add", [tensor, self.writer.floats(whole(free, 0.0), shape)])
        if np.isfinite(low).any():
            tensor = self.writer.node("Max", [tensor, self.writer.floats(whole(low, -np.inf), shape)])
        if np.isfinite(high).any():
            tensor = self.writer.node("Min", [tensor, self.writer.floats(whole(high, np.inf), shape)])
        if fixed.any():
            mask = whole(fixed.astype(float), 0.0).astype(bool).reshape(shape)
            values = self.writer.floats(whole(np.where(fixed, change.lower, 0.0), 0.0), shape)
            tensor = self.writer.node("Where", [self.writer.constant(mask), values, tensor])
        return tensor

    def _corrected(
        self, changes: Sequence[Correction], tensor: str, shape: tuple[int, ...], inside: str, output: str
    ) -> None:
        """What is missing, times 0 or 1, added to the tensor as [N, m]; and its shape again.

        Of several changes the guards are columns, [N, g], and the half-spaces of all are computed at once. A
        product with the guard needs fewer nodes than a choice between two tensors. What is missing is
        written as max(z, 0) - z with z = C y + D x - d: its linear bounds from below are exact, so that the
        half-space is proved whatever z is. Where half-spaces of a change move each other, as a ReLU of -z,
        whose slopes can be optimised.
        """
        writer, plain, coupled = self.writer, len(shape) == 2 and shape[0] == 1, changes[0].coupled
        size, count = int(np.prod(shape)), sum(change.count for change in changes)
        y = tensor if plain else writer.node("Reshape", [tensor, writer.constant(np.array([-1, size]))])
        sign = -1.0 if coupled else 1.0
        rows, moved, direction = (
            np.concatenate([getattr(change, name) for change in changes])
            for name in ("output", "input", "direction")
        )
        bound = writer.floats(-sign * np.concatenate([change.bound for change in changes]), (1, count))
        z = writer.node("Gemm", [y, writer.floats(sign * rows.T, (size, count)), bound])
        if moved.any():
            linear = writer.node("MatMul", [writer.flat_input(), self._numbers(sign * moved.T)])
            z = writer.node("Add", [z, linear])
        if coupled:
            missing = writer.node("Relu", [z])
        else:
            zero = writer.floats(np.zeros(count), (1, count))
            missing = writer.node("Sub", [writer.node("Max", [z, zero]), z])
        if len(changes) > 1:
            owner = np.repeat(np.arange(len(changes)), [change.count for change in changes])
            inside = writer.node("Gather", [inside, writer.constant(owner)], axis=1)
        step = writer.node("Mul", [missing, inside])
        if plain:
            writer.node("Gemm", [step, self._numbers(direction), y], output)
            return
        back = np.array([-1, *shape[1:]] if writer.batched else shape, dtype=np.int64)
        added = writer.node("MatMul", [step, self._numbers(direction)])
        writer.node("Add", [tensor, writer.node("Reshape", [added, writer.constant(back)])], output)

    def _numbers(self, values: Array) -> str:
        return self.writer.floats(values, values.shape)

    def add_monitor(self) -> str:
        """One more output: which gates are on, [N, g]."""
        writer = self.writer
        name = f"{writer.prefix}fired"
        truths = [self.guards.truth(self.guards.of(gates)) for gates in self.groups]
        if len(truths) > 1:
            writer.node("Concat", truths, name, axis=1)
        else:
            writer.node("Identity", truths, name)
        writer.model.graph.node.extend(writer.pending)
        writer.pending = []
        gates = sum(map(len, self.groups))
        writer.model.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.BOOL, ["inputs", gates])
        )
        return name
