r"""Which layer is edited, and how the outputs depend on its parameters.

Let z be the output of the last affine layer and h its input. Everything behind it is linear, so

$$ y(x; \delta) = y(x) + T\, J(h(x))\, \delta, $$

with the constant matrix T from z to the outputs, and J(h) linear in h: at a fixed input x the outputs
are affine in the change \(\delta\) of the stored parameters, exactly, for changes of any size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from layerwise.affine import convolution_matrix, patch_indices
from repairsolver.errors import EditError
from repairsolver.network.forward import activations, apply
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import (
    Concat,
    Conv,
    Dense,
    Scale,
    Select,
    Sigmoid,
    Softmax,
    Source,
    Sum,
    Tanh,
)
from repairsolver.repairing.stored import stored_tensors, uses
from repairsolver.results import Array


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A tensor of the ONNX file whose entries are unknowns.

    Args:
        source: where it lives, and how the layer's array comes from it.
        role: "weight" or "bias".
        stored: its values as stored, in the file's layout and element type.
        start: the index of its first entry among the unknowns.
    """

    source: Source
    role: str
    stored: NDArray[np.floating]
    start: int


@dataclass(frozen=True, slots=True, eq=False)
class EditableLayer:
    """A layer whose parameters are unknowns, in a network that is linear behind it.

    Args:
        node: the dense or convolution layer.
        parameters: its tensors; together they make up the vector of unknowns.
        scores: the tensor whose values the properties' rows are about: the output, or what a final
            Softmax, Sigmoid or Tanh is applied to.
        tail: T, [m, size of the layer's output].
        monotone: whether an order-preserving activation follows the scores.
    """

    node: Node
    parameters: tuple[Parameter, ...]
    scores: str
    tail: sparse.csr_array
    monotone: bool
    input_shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of unknowns."""
        return sum(parameter.stored.size for parameter in self.parameters)

    @property
    def name(self) -> str:
        return self.node.layer or self.node.name

    def points(self, network: Network, inputs: Array) -> tuple[Array, Array]:
        """The layer's inputs h [b, k] and the scores [b, m] at inputs [b, n], in float64."""
        values = activations(network, inputs)
        return values[self.node.inputs[0]], values[self.scores]

    def gradient(self, hidden: Array, readout: Array) -> Array:
        """How readout @ scores changes with the unknowns: [b, r, unknowns], for h [b, k], readout [r, m]."""
        at_layer = np.asarray((self.tail.T @ readout.T).T)
        parts = [self._part(parameter, hidden, at_layer) for parameter in self.parameters]
        return np.concatenate(parts, axis=2)

    def _part(self, parameter: Parameter, hidden: Array, at_layer: Array) -> Array:
        b, r = len(hidden), len(at_layer)
        operator = self.node.operator
        assert isinstance(operator, Dense | Conv)
        outputs = operator.weight.shape[0]
        if parameter.role == "bias":
            axes = (r, -1, outputs) if isinstance(operator, Dense) else (r, outputs, -1)
            block = at_layer.reshape(axes).sum(axis=1 if isinstance(operator, Dense) else 2)
            whole = np.broadcast_to(block[None], (b, r, outputs))
        elif isinstance(operator, Dense):
            rows = hidden.reshape(b, -1, operator.weight.shape[1])
            whole = np.einsum("rso,bsk->brok", at_layer.reshape(r, -1, outputs), rows)
            whole = np.swapaxes(whole, 2, 3) if parameter.source.transposed else whole
        else:
            whole = _filter_gradient(operator, hidden, at_layer, self.input_shape)
        return np.asarray(whole).reshape(b, r, -1) * parameter.source.factor

    def effect(self, hidden: Array, delta: Array) -> Array:
        """By how much the scores [b, m] move at h [b, k] under a change [unknowns]."""
        operator = self.node.operator
        assert isinstance(operator, Dense | Conv)
        weight, bias = np.zeros_like(operator.weight), np.zeros_like(operator.bias)
        for p in self.parameters:
            part = p.source.factor * delta[p.start : p.start + p.stored.size]
            if p.role == "bias":
                bias = part.reshape(bias.shape)
            elif p.source.transposed:
                weight = part.reshape(weight.shape[::-1]).T
            else:
                weight = part.reshape(weight.shape)
        change = replace(self.node, operator=replace(operator, weight=weight, bias=bias))
        return np.asarray((self.tail @ apply(change, [hidden], self.input_shape).T).T)

    def magnitude(self, hidden: Array) -> Array:
        """|T| (|W| |h| + |b|), [b, m]: how large the terms are that make up the scores at h [b, k]."""
        operator = self.node.operator
        assert isinstance(operator, Dense | Conv)
        sizes = replace(operator, weight=np.abs(operator.weight), bias=np.abs(operator.bias))
        terms = apply(replace(self.node, operator=sizes), [np.abs(hidden)], self.input_shape)
        return np.asarray((abs(self.tail) @ terms.T).T)

    def changed(self, delta: Array) -> dict[str, NDArray[np.floating]]:
        """The tensors after a change [unknowns], rounded to the file's element type."""
        return {
            p.source.tensor: (
                p.stored + delta[p.start : p.start + p.stored.size].reshape(p.stored.shape)
            ).astype(p.stored.dtype)
            for p in self.parameters
        }

    def rounded(self, delta: Array) -> Array:
        """The change that is left after rounding to the file's element type, [unknowns]."""
        new = self.changed(delta)
        steps = [new[p.source.tensor].astype(np.float64) - p.stored for p in self.parameters]
        return np.concatenate([step.ravel() for step in steps])


def _filter_gradient(conv: Conv, hidden: Array, at_layer: Array, shape: tuple[int, ...]) -> Array:
    """[b, r, o, c / groups * kernel]."""
    b, r, outputs = len(hidden), len(at_layer), conv.weight.shape[0]
    index = patch_indices(
        shape[1:],
        conv.weight.shape[2:],
        strides=conv.strides,
        pads=conv.pads,
        dilations=conv.dilations,
        groups=conv.groups,
    )
    patches = np.where(index >= 0, hidden[:, index], 0.0)
    grouped = at_layer.reshape(r, conv.groups, outputs // conv.groups, -1)
    return np.asarray(np.einsum("rgot,bgtk->brgok", grouped, patches)).reshape(b, r, outputs, -1)


def find_layer(network: Network, layers: str | tuple[str, ...] = "last") -> EditableLayer:
    """The last affine layer with parameters in the file, ready to be edited.

    Args:
        layers: "last", or the name of that layer.

    Raises:
        EditError: no such layer, another layer than the last affine one is named, the network is not
            linear behind it, or its parameters are shared or missing in the file.
    """
    candidates = [node for node in network.affine_layers if _sources(node)]
    if not candidates:
        raise EditError(
            f"{network.name}: no dense or convolution layer has its weights in the file: nothing to edit"
        )
    node = candidates[-1]
    _check_request(network, node, layers)
    scores, tail, monotone = _tail(network, node)
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    parameters = _parameters(network, node)
    return EditableLayer(node, parameters, scores, tail, monotone, shapes[node.inputs[0]])


def _sources(node: Node) -> list[tuple[str, Source]]:
    operator = node.operator
    assert isinstance(operator, Dense | Conv)
    both = (("weight", operator.weight_source), ("bias", operator.bias_source))
    return [(role, source) for role, source in both if source is not None]


def _check_request(network: Network, node: Node, layers: str | tuple[str, ...]) -> None:
    wanted = (layers,) if isinstance(layers, str) else tuple(layers)
    own = {node.name, node.layer, "last"}
    unknown = [name for name in wanted if name not in own]
    if unknown or not wanted:
        known = {name for layer in network.affine_layers for name in (layer.name, layer.layer) if name}
        missing = [name for name in unknown if name not in known]
        why = f"there is no layer {', '.join(map(repr, missing))}; " if missing else ""
        raise EditError(
            f"{network.name}: layers={layers!r}: {why}method 'delta' edits the last affine layer only, "
            f"which is {node.layer or node.name!r} here: pass layers='last' or that name"
        )


def _tail(network: Network, layer: Node) -> tuple[str, sparse.csr_array, bool]:
    """The scores, T, and whether an order-preserving activation follows them.

    Raises:
        EditError: something that is not linear stands between the layer and the scores.
    """
    maps = {layer.name: sparse.csr_array(sparse.eye_array(layer.size))}
    sizes = {network.input_name: network.input_size} | {node.name: node.size for node in network.nodes}
    shapes = {network.input_name: network.input_shape} | {node.name: node.shape for node in network.nodes}
    for node in network.nodes[network.nodes.index(layer) + 1 :]:
        if not any(name in maps for name in node.inputs):
            continue
        if node is network.output and isinstance(node.operator, Softmax | Sigmoid | Tanh):
            return node.inputs[0], maps[node.inputs[0]], True
        arguments = [maps.get(name, sparse.csr_array((sizes[name], layer.size))) for name in node.inputs]
        maps[node.name] = _through(network, node, arguments, shapes[node.inputs[0]], layer)
    if network.output.name not in maps:
        raise EditError(f"{network.name}: layer {layer.layer or layer.name!r} does not reach the output")
    return network.output.name, maps[network.output.name], False


def _through(
    network: Network, node: Node, arguments: list[sparse.csr_array], shape: tuple[int, ...], layer: Node
) -> sparse.csr_array:
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
        case operator:
            raise EditError(
                f"{network.name}: {type(operator).__name__} {node.layer or node.name!r} follows the last "
                f"affine layer {layer.layer or layer.name!r}, so the outputs are not affine in its weights; "
                "method 'delta' needs a linear tail (only a final Softmax, Sigmoid or Tanh is transferred)"
            )


def _parameters(network: Network, node: Node) -> tuple[Parameter, ...]:
    tensors, used = stored_tensors(network), uses(network)
    shared = [s.tensor for _, s in _sources(node) if used[s.tensor] != 1]
    if shared:
        raise EditError(
            f"{network.name}: {', '.join(shared)} of layer {node.layer or node.name!r} "
            "is used by several nodes: changing it would change other layers too; give the layer its own copy"
        )
    found: list[Parameter] = []
    for role, source in _sources(node):
        stored = tensors[source.tensor]
        start = found[-1].start + found[-1].stored.size if found else 0
        found.append(Parameter(source, role, stored, start))
    _check_layout(network, node, found)
    return tuple(found)


def _check_layout(network: Network, node: Node, parameters: list[Parameter]) -> None:
    """The stored tensors, read as the sources say, are the layer's arrays."""
    for parameter in parameters:
        array = getattr(node.operator, parameter.role)
        stored = parameter.source.factor * parameter.stored.astype(np.float64)
        if stored.ndim > 1 and parameter.source.transposed:
            stored = np.swapaxes(stored, -1, -2)
        if stored.size != array.size or not np.array_equal(stored.ravel(), array.ravel()):
            raise EditError(
                f"{network.name}: {parameter.source.tensor} holds {parameter.stored.shape} values that are "
                f"not the {parameter.role} {array.shape} of layer {node.layer or node.name!r}: it cannot be "
                "edited in place"
            )
