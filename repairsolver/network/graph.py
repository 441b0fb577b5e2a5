"""The network: a DAG of operators over flat tensors, tied to the ONNX file that it was read from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from repairsolver.network.operators import Conv, Dense, Operator
from repairsolver.results import Array


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operator application.

    Args:
        name: unique name of the output tensor.
        operator: what is computed.
        inputs: names of earlier nodes, or of the network's input.
        shape: shape of the output (the ONNX shape, symbolic axes 1).
        layer: the name people know the layer by (the ONNX node's name, else its output).
    """

    name: str
    operator: Operator
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    layer: str = ""

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class Network:
    """A feed-forward network R^n -> R^m, in topological order, with the ONNX model it stands for.

    The graph is what engines compute with (float64, on the weights as stored); `model` is what is
    saved, replayed and certified. Never built by hand outside `repairsolver.network`.

    Args:
        nodes: topologically ordered; the last one is the output.
        input_name: the ONNX graph input.
        input_shape: its shape, symbolic axes 1.
        element: the ONNX element type of input and output, float32 or float64.
        model: the serialised ONNX ModelProto, byte for byte what `save` writes.
        name: for messages; the file's stem where there is a file.
        metadata: the key-value pairs of the ONNX file, such as the limits of an NNet file.
    """

    nodes: tuple[Node, ...]
    input_name: str
    input_shape: tuple[int, ...]
    element: np.dtype[np.float32] | np.dtype[np.float64]
    model: bytes
    name: str = "network"
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def input_size(self) -> int:
        """n, the number of inputs."""
        return prod(self.input_shape)

    @property
    def output(self) -> Node:
        """The last node."""
        return self.nodes[-1]

    @property
    def output_size(self) -> int:
        """m, the number of outputs."""
        return self.output.size

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the ONNX file as it is saved."""
        return hashlib.sha256(self.model).hexdigest()

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @property
    def affine_layers(self) -> tuple[Node, ...]:
        """The dense and convolution layers with weights of the file, first to last: those to edit."""
        return tuple(
            node
            for node in self.nodes
            if isinstance(node.operator, Dense | Conv) and node.operator.weight_source is not None
        )

    def __call__(self, points: NDArray[np.floating]) -> Array:
        """Outputs [b, m] in float64 for points [b, n] (or [n], which gives [m])."""
        from repairsolver.network.forward import forward

        return forward(self, points)

    def __repr__(self) -> str:
        layers = ", ".join(type(node.operator).__name__ for node in self.nodes[:12])
        more = ", ..." if len(self.nodes) > 12 else ""
        return f"<Network {self.name}: {self.input_size} -> {self.output_size}; {layers}{more}>"
