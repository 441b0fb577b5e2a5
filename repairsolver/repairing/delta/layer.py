r"""What is edited, and how the outputs depend on it: exactly affine for a layer with a linear tail.

Let z be the output of the layer and h its input. If everything behind it is linear,

$$ y(x; \delta) = y(x) + T\, J(h(x))\, \delta, $$

with the constant matrix T from z to the outputs, and J(h) linear in h: at a fixed input x the outputs
are affine in the change \(\delta\) of the stored parameters, exactly, for changes of any size. Other
layers, and several at once, are `hidden.HiddenLayers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from layerwise.affine import convolution_matrix
from repairsolver.errors import EditError
from repairsolver.network.forward import activations
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Concat, Conv, Dense, Scale, Select, Sigmoid, Softmax, Sum, Tanh
from repairsolver.repairing.delta.addressing import Choice, find_blocks
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.unknowns import Block, Parameter
from repairsolver.results import Array


class Layer(Protocol):
    """The unknowns of a repair and what they do to the scores, which the properties' rows are about."""

    @property
    def blocks(self) -> tuple[Block, ...]: ...

    @property
    def scores(self) -> str: ...

    @property
    def size(self) -> int:
        """The number of unknowns."""
        ...

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The tensors with unknowns, block by block."""
        ...

    @property
    def affine(self) -> bool:
        """Whether `effect` is linear in the change, so that `gradient` says everything."""
        ...

    def gathered(self, arrays: Mapping[str, NDArray[np.floating]]) -> Array:
        """The unknowns' entries [unknowns] of arrays that are shaped like the tensors, by tensor name."""
        ...

    def points(self, network: Network, inputs: Array) -> tuple[Array, Array]:
        """What `effect` and `gradient` need of inputs [b, n], and the scores [b, m]."""
        ...

    def effect(self, hidden: Array, delta: Array) -> Array:
        """By how much the scores [b, m] move under a change [unknowns], exactly."""
        ...

    def gradient(self, hidden: Array, readout: Array) -> Array:
        """The derivative of readout @ scores [b, r, unknowns]."""
        ...

    def magnitude(self, hidden: Array) -> Array:
        """[b, m]: how large the terms are that make up the scores."""
        ...

    def changed(self, delta: Array) -> dict[str, NDArray[np.floating]]:
        """The tensors after a change, rounded to the file's element type."""
        ...

    def rounded(self, delta: Array) -> Array:
        """The change that is left after this rounding."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class EditableLayer:
    """A layer whose parameters are unknowns, in a network that is linear behind it.

    Args:
        block: its unknowns.
        scores: the tensor whose values the properties' rows are about: the output, or what a final
            Softmax, Sigmoid or Tanh is applied to.
        tail: T, [m, size of the layer's output].
    """

    block: Block
    scores: str
    tail: sparse.csr_array
    affine: bool = True

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (self.block,)

    @property
    def size(self) -> int:
        return self.block.size

    @property
    def name(self) -> str:
        return self.block.name

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.block.parameters

    def gathered(self, arrays: Mapping[str, NDArray[np.floating]]) -> Array:
        return self.block.gathered(arrays)

    def points(self, network: Network, inputs: Array) -> tuple[Array, Array]:
        """The layer's inputs h [b, k] and the scores [b, m] at inputs [b, n], in float64."""
        values = activations(network, inputs)
        return values[self.block.node.inputs[0]], values[self.scores]

    def gradient(self, hidden: Array, readout: Array) -> Array:
        """How readout @ scores changes with the unknowns: [b, r, unknowns], for h [b, k], readout [r, m]."""
        at_layer = np.asarray((self.tail.T @ readout.T).T)
        return self.block.gradient(hidden, at_layer[None])

    def effect(self, hidden: Array, delta: Array) -> Array:
        """By how much the scores [b, m] move at h [b, k] under a change [unknowns]."""
        return np.asarray((self.tail @ self.block.moved(hidden, delta).T).T)

    def magnitude(self, hidden: Array) -> Array:
        """|T| (|W| |h| + |b|), [b, m]: how large the terms are that make up the scores at h [b, k]."""
        return np.asarray((abs(self.tail) @ self.block.magnitude(hidden).T).T)

    def changed(self, delta: Array) -> dict[str, NDArray[np.floating]]:
        return self.block.changed(delta)

    def rounded(self, delta: Array) -> Array:
        return self.block.rounded(delta)


def find_layers(network: Network, choice: Choice, *, comparing: bool = True) -> Layer:
    """The chosen unknowns, ready to be edited.

    Args:
        comparing: whether every row only compares two outputs, so that a final Sigmoid or Tanh, which
            keeps their order, need not be looked through.

    Raises:
        EditError: see `addressing.find_blocks`; or the outputs do not depend on a layer.
    """
    blocks = find_blocks(network, choice)
    scores = _scores(network, comparing)
    _check_reach(network, blocks, scores)
    tail = _tail(network, blocks[0].node, scores) if len(blocks) == 1 else None
    return HiddenLayers(network, blocks, scores) if tail is None else EditableLayer(blocks[0], scores, tail)


def find_layer(network: Network, layers: str = "last") -> EditableLayer:
    """A layer with a linear tail.

    Raises:
        EditError: see `find_layers`; or the network is not linear behind the layer.
    """
    found = find_layers(network, Choice(layers))
    if not isinstance(found, EditableLayer):
        raise EditError(f"{network.name}: the network is not linear behind layer {found.name!r}")
    return found


def _scores(network: Network, comparing: bool) -> str:
    last = network.output
    ordered = isinstance(last.operator, Softmax) or (comparing and isinstance(last.operator, Sigmoid | Tanh))
    return last.inputs[0] if ordered else last.name


def _check_reach(network: Network, blocks: tuple[Block, ...], scores: str) -> None:
    for block in blocks:
        reached = {block.node.name}
        for node in network.nodes:
            if reached & set(node.inputs):
                reached.add(node.name)
        if scores not in reached:
            raise EditError(f"{network.name}: layer {block.name!r} does not reach the output")


def _tail(network: Network, layer: Node, scores: str) -> sparse.csr_array | None:
    """T from the layer's output to the scores; None if something that is not linear stands between."""
    maps = {layer.name: sparse.csr_array(sparse.eye_array(layer.size))}
    sizes = {network.input_name: network.input_size} | {node.name: node.size for node in network.nodes}
    shapes = {network.input_name: network.input_shape} | {node.name: node.shape for node in network.nodes}
    for node in network.nodes[network.nodes.index(layer) + 1 :]:
        if scores in maps:
            break
        if not any(name in maps for name in node.inputs):
            continue
        arguments = [maps.get(name, sparse.csr_array((sizes[name], layer.size))) for name in node.inputs]
        moved = _through(node, arguments, shapes[node.inputs[0]])
        if moved is None:
            return None
        maps[node.name] = moved
    return maps.get(scores)


def _through(
    node: Node, arguments: list[sparse.csr_array], shape: tuple[int, ...]
) -> sparse.csr_array | None:
    first = arguments[0]
    match node.operator:
        case Scale(scale, _):
            return sparse.csr_array(sparse.diags_array(scale) @ first)
        case Select(index, _):
            keep = sparse.csr_array(sparse.diags_array((index >= 0).astype(np.float64)))
            return sparse.csr_array(keep @ first[np.maximum(index, 0)])
        case Sum(coefficients):
            parts = [c * argument for c, argument in zip(coefficients, arguments, strict=True)]
            return sparse.csr_array(sum(parts[1:], start=parts[0]))
        case Concat():
            return sparse.csr_array(sparse.vstack(arguments, format="csr"))
        case Dense(weight, _):
            matrix = sparse.kron(sparse.eye_array(prod(shape) // weight.shape[1]), weight, format="csr")
            return sparse.csr_array(matrix @ first)
        case Conv() as conv:
            matrix = convolution_matrix(
                conv.weight,
                shape[1:],
                strides=conv.strides,
                pads=conv.pads,
                dilations=conv.dilations,
                groups=conv.groups,
            )
            return sparse.csr_array(matrix @ first)
        case _:
            return None
