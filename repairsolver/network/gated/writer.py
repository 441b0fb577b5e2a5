"""Nodes written into an ONNX model: their names, their place, and the tensors they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from repairsolver.errors import EditError
from repairsolver.network.graph import Network
from repairsolver.network.onnx_file import opset_of
from repairsolver.results import Array

AXES_AS_INPUT = 18
"""From this opset on, reductions take their axes as an input."""


@dataclass(slots=True, eq=False)
class Branch:
    """Nodes of one branch, and the tensor that they compute."""

    nodes: list[NodeProto] = field(default_factory=list)
    result: str = ""


@dataclass(slots=True, eq=False)
class Writer:
    """A model that nodes are written into, one after another."""

    network: Network
    model: ModelProto
    added: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    head: list[NodeProto] = field(default_factory=list)
    pending: list[NodeProto] = field(default_factory=list)
    count: int = 0
    prefix: str = ""
    flat: str = ""

    def __post_init__(self) -> None:
        taken = {tensor for node in self.model.graph.node for tensor in (node.name, *node.output)}
        number = 1
        while any(tensor.startswith(f"gates{number}/") for tensor in taken):
            number += 1
        self.prefix = f"gates{number}/"

    @property
    def batched(self) -> bool:
        """Whether the first axis of the input counts inputs."""
        return len(self.network.input_shape) > 1 and self.network.input_shape[0] == 1

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node; the name of its output."""
        name = f"{self.prefix}{operator}{self.count}"
        self.count += 1
        out = output or name
        self.pending.append(helper.make_node(operator, list(inputs), [out], name=name, **attributes))
        self.added.append(name)
        return out

    def constant(self, values: NDArray[Any]) -> str:
        """A constant as a node: older files would have to list a stored tensor among their inputs."""
        return self.node("Constant", [], value=numpy_helper.from_array(np.ascontiguousarray(values)))

    def floats(self, values: Array, shape: Sequence[int]) -> str:
        """Numbers of the network's type; infinite ones are its largest, which as limits restrict nothing."""
        largest = float(np.finfo(self.network.element).max)
        limited = np.clip(values, -largest, largest)
        return self.constant(limited.astype(self.network.element).reshape(tuple(shape)))

    def reduced(self, operator: str, tensor: str, axes: Sequence[int], *, keep: bool) -> str:
        """Over some axes; over all where none are given."""
        if axes and opset_of(self.model, self.network.name) >= AXES_AS_INPUT:
            return self.node(operator, [tensor, self.constant(np.array(axes))], keepdims=int(keep))
        given: dict[str, Any] = {"axes": list(axes)} if axes else {}
        return self.node(operator, [tensor], keepdims=int(keep), **given)

    def flat_input(self) -> str:
        """The input as [N, n]; [1, n] where its first axis does not count inputs."""
        if not self.flat:
            with self.at_head():
                name = self.network.input_name
                if self.batched and len(self.network.input_shape) == 2:
                    self.flat = name
                elif self.batched:
                    self.flat = self.node("Flatten", [name], axis=1)
                else:
                    self.flat = self.node("Reshape", [name, self.constant(np.array([1, -1]))])
        return self.flat

    @contextmanager
    def at_head(self) -> Iterator[None]:
        """Nodes that read nothing but the network's input come first."""
        waiting, self.pending = self.pending, []
        yield
        self.head += self.pending
        self.pending = waiting

    @contextmanager
    def branch(self) -> Iterator[Branch]:
        """Nodes of one branch of a choice; its result is to be named."""
        waiting, self.pending, before = self.pending, [], len(self.added)
        found = Branch()
        yield found
        found.nodes, self.pending = self.pending, waiting
        del self.added[before:]

    def choice(self, condition: str, branches: tuple[Branch, Branch], rank: int, output: str = "") -> str:
        """Numbers with so many axes: those of the first branch, or of the other one; only one is run."""
        element = helper.np_dtype_to_tensor_dtype(self.network.element)
        graphs = {}
        for name, branch in zip(("then_branch", "else_branch"), branches, strict=True):
            result = helper.make_tensor_value_info(branch.result, element, [None] * rank)
            graphs[name] = helper.make_graph(branch.nodes, name, [], [result])
        return self.node("If", [condition], output, **graphs)

    def producer(self, tensor: str) -> tuple[int, NodeProto]:
        for place, node in enumerate(self.model.graph.node):
            if tensor in node.output:
                return place, node
        raise EditError(
            f"{self.network.name}: no node of the file makes a tensor {tensor!r}: it cannot be gated"
        )

    def put(self, place: int) -> None:
        """The pending nodes go behind a node of the model."""
        nodes = list(self.model.graph.node)
        self._replace([*nodes[: place + 1], *self.pending, *nodes[place + 1 :]])
        self.pending = []

    def finish(self) -> None:
        """Guards come first: they read nothing but the network's input."""
        self._replace([*self.head, *self.model.graph.node])

    def _replace(self, nodes: Sequence[NodeProto]) -> None:
        copies = list(nodes)
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)
