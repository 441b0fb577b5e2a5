"""What the lowering of ONNX nodes works with: values, the growing graph, and the call of one node.

A value is a `Constant` (known while loading) or a `Tensor` (an entry of the graph under construction).
Nodes that only change a shape, or that change nothing, become aliases: the same node under another
shape. `Builder.shaped` makes the shape real for the few operators that read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from repairsolver.network.graph import Node
from repairsolver.network.operators import Indices, Operator, Select, Source
from repairsolver.results import Array

LARGEST = 2**27
"""Entries that one tensor may have: beyond this a file is taken for a mistake or an attack."""

PRODUCT = "a product of two tensors that both depend on the network's input is not piecewise linear"

Shape = tuple[int, ...]
Element = np.dtype[np.float32] | np.dtype[np.float64]


class RefusedError(Exception):
    """One ONNX node that cannot be lowered, and why; the reader collects all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A tensor that is known while loading; `source` says where its entries are stored, if they are."""

    value: NDArray[Any]
    source: Source | None = None

    @property
    def shape(self) -> Shape:
        return self.value.shape

    @property
    def floats(self) -> Array:
        """The entries in float64, exactly as stored; refused unless they are float32 or float64."""
        if self.value.dtype not in (np.float32, np.float64):
            stored = f" {self.source.tensor!r}" if self.source else ""
            raise RefusedError(f"its constant{stored} is of type {self.value.dtype}, not float32 or float64")
        with np.errstate(invalid="ignore"):  # NaN is reported later, with the names of all such tensors
            return self.value.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that depends on the input: a node of the graph, seen under an ONNX shape."""

    node: str
    shape: Shape

    @property
    def size(self) -> int:
        return prod(self.shape)


Box = tuple[tuple[int, float, float], ...]
"""Input, lower and upper end, for every input that the box restricts; in the order of the inputs."""
Guard = tuple[Box, ...]
"""A union of boxes of inputs: where a truth value is true."""


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A tensor of truth values: the number of its guard in a table for each entry."""

    index: Indices
    table: tuple[Guard, ...]

    @property
    def shape(self) -> Shape:
        return self.index.shape


Value = Constant | Tensor
"""A tensor of numbers."""
Result = Value | Condition


class Builder:
    """The graph under construction: nodes by name, in topological order.

    Args:
        element: the type of the network's numbers; ends from its largest number on restrict nothing.
    """

    def __init__(self, input_name: str, input_shape: Shape, element: Element) -> None:
        self.input = Tensor(input_name, input_shape)
        self.element = element
        self.largest = float(np.finfo(element).max)
        self.nodes: dict[str, Node] = {}

    def emit(
        self, name: str, operator: Operator, inputs: Sequence[Tensor], shape: Shape, layer: str
    ) -> Tensor:
        """Append a node; the name is made unique where it is taken."""
        if prod(affordable(shape)) == 0:
            raise RefusedError(f"its result of shape {list(shape)} is empty")
        unique, count = name, 1
        while unique in self.nodes or unique == self.input.node:
            unique, count = f"{name}#{count}", count + 1
        self.nodes[unique] = Node(unique, operator, tuple(x.node for x in inputs), shape, layer or unique)
        return Tensor(unique, shape)

    def select(self, name: str, x: Tensor, index: Indices, fill: Array | None, layer: str) -> Tensor:
        """Move entries: `index` has the shape of the result and holds positions in x, -1 for `fill`.

        Selections of selections become one; one that changes nothing but the shape becomes an alias.
        """
        flat = index.reshape(-1).astype(np.int64)
        constant = np.zeros(flat.size) if fill is None else np.where(flat < 0, fill.reshape(-1), 0.0)
        node, before = x.node, self.nodes.get(x.node)
        if before is not None and isinstance(before.operator, Select):
            inner = before.operator
            constant = np.where(flat < 0, constant, inner.fill[flat])
            flat = np.where(flat < 0, -1, inner.index[flat])
            node = before.inputs[0]
        if flat.size == self.size(node) and np.array_equal(flat, np.arange(flat.size)):
            return Tensor(node, index.shape)
        return self.emit(name, Select(flat, constant), [Tensor(node, ())], index.shape, layer)

    def shaped(self, name: str, x: Tensor, layer: str) -> Tensor:
        """The same tensor as a node that really has its shape, for operators that read the shape."""
        if self.shape(x.node) == x.shape:
            return x
        return self.emit(name, identity(x.size), [x], x.shape, layer)

    def shape(self, node: str) -> Shape:
        return self.input.shape if node == self.input.node else self.nodes[node].shape

    def size(self, node: str) -> int:
        return prod(self.shape(node))


def affordable(shape: Shape) -> Shape:
    """The shape itself; refused if a tensor of it would be too large to hold."""
    if prod(shape) > LARGEST:
        raise RefusedError(f"it needs a tensor of shape {list(shape)}, which has more than {LARGEST} entries")
    return shape


def identity(size: int) -> Select:
    """The selection that changes nothing."""
    return Select(np.arange(size), np.zeros(size))


def positions(x: Tensor) -> Indices:
    """The index array of a tensor: whatever moves entries is applied to it by numpy."""
    return np.arange(x.size, dtype=np.int64).reshape(x.shape)


@dataclass(frozen=True, slots=True)
class Call:
    """One ONNX node being lowered: its attributes, its inputs as values, and the graph to add to.

    Args:
        inputs: one value per ONNX input, None where an optional one is left out.
        private: for each input, whether this node alone reads it.
        wanted: names of outputs that somebody reads.
    """

    builder: Builder
    node: onnx.NodeProto
    inputs: tuple[Result | None, ...]
    private: tuple[bool, ...]
    wanted: frozenset[str]
    opset: int
    attributes: Mapping[str, Any]

    @property
    def layer(self) -> str:
        """The name that people know this node by."""
        return str(self.node.name or self.node.output[0])

    def has(self, position: int) -> bool:
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int) -> Value:
        found = self.given(position)
        if isinstance(found, Condition):
            name = self.node.input[position]
            raise RefusedError(f"input {position} ({name!r}) must be numbers, not truth values")
        return found

    def given(self, position: int) -> Result:
        """An input of any kind, truth values included."""
        found = self.inputs[position] if position < len(self.inputs) else None
        if found is None:
            raise RefusedError(f"input {position} is missing")
        return found

    def tensor(self, position: int) -> Tensor:
        found = self.value(position)
        if isinstance(found, Constant):
            raise RefusedError(f"input {position} ({self.node.input[position]!r}) must not be constant")
        return found

    def constant(self, position: int) -> Constant:
        found = self.value(position)
        if isinstance(found, Tensor):
            name = self.node.input[position]
            raise RefusedError(
                f"input {position} ({name!r}) must be constant, but depends on the network's input"
            )
        return found

    def number(self, name: str, default: float) -> float:
        """A float attribute; ONNX stores and runs them, defaults included, in float32."""
        return float(np.float32(self.attributes.get(name, default)))

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def integers(self, name: str, position: int | None = None) -> tuple[int, ...] | None:
        """A list of integers: an attribute in older opsets, a constant input in newer ones."""
        if name in self.attributes:
            return tuple(int(i) for i in self.attributes[name])
        if position is None or not self.has(position):
            return None
        return tuple(int(i) for i in self.constant(position).value.reshape(-1))

    def emit(self, operator: Operator, inputs: Sequence[Tensor], shape: Shape, suffix: str = "") -> Tensor:
        """Append a node named by the first output, or by it and a suffix for a helper."""
        return self.builder.emit(self.node.output[0] + suffix, operator, inputs, shape, self.layer)

    def select(self, x: Tensor, index: Indices, fill: Array | None = None, suffix: str = "") -> Tensor:
        return self.builder.select(self.node.output[0] + suffix, x, index, fill, self.layer)

    def shaped(self, x: Tensor) -> Tensor:
        return self.builder.shaped(self.node.output[0] + "/shape", x, self.layer)


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; refused outside [-rank, rank)."""
    if not -rank <= axis < max(rank, 1):
        raise RefusedError(f"axis {axis} is outside a tensor of rank {rank}")
    return axis % max(rank, 1)
