r"""Derivatives of a network at points: pushed forwards along a direction, pulled back from the outputs.

At a kink any value between the one-sided slopes is a generalised derivative; a ReLU at exactly 0 counts
as inactive, a maximum belongs to its first largest entry.

Source: Griewank and Walther, Evaluating Derivatives, 2008, chapter 3 (forward and reverse mode).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from layerwise.affine import convolution_matrix
from repairsolver.network import operators as ops
from repairsolver.network.forward import apply
from repairsolver.network.graph import Network, Node
from repairsolver.results import Array

Values = Mapping[str, Array]


def push(network: Network, values: Values, seeds: Values, target: str) -> Array:
    """The derivative of a tensor along a direction in which some tensors move, [b, size].

    Args:
        values: every tensor at the points, [b, size] each (`network.forward.activations`).
        seeds: by how much tensors move by themselves, besides what their inputs make them move.
        target: the tensor's name.
    """
    moved: dict[str, Array] = {}
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    for node in network.nodes:
        if any(name in moved for name in node.inputs):
            arguments = [moved.get(name, np.zeros_like(values[name])) for name in node.inputs]
            moved[node.name] = _forward(node, arguments, values, shapes[node.inputs[0]])
        if node.name in seeds:
            moved[node.name] = seeds[node.name] + moved.get(node.name, 0.0)
        if node.name == target:
            break
    return moved.get(target, np.zeros_like(values[target]))


def pull(
    network: Network, values: Values, readout: Array, source: str, targets: set[str]
) -> dict[str, Array]:
    """How functionals of a tensor depend on other tensors: by name, [b, r, size].

    Args:
        values: every tensor at the points, [b, size] each.
        readout: the functionals, [r, size of the source], or [b, r, size of the source].
        source: the tensor that they are about.
        targets: the tensors to differentiate by; those that the source does not depend on are left out.
    """
    batch = len(values[source])
    shape = (batch, *readout.shape[-2:])
    found: dict[str, Array] = {source: np.broadcast_to(readout, shape)}
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    place = {network.input_name: -1} | {node.name: i for i, node in enumerate(network.nodes)}
    first = min(place[name] for name in targets)
    for node in reversed(network.nodes[first + 1 : place[source] + 1]):
        if node.name not in found:
            continue
        cotangent = found[node.name] if node.name in targets else found.pop(node.name)
        back = _backward(node, cotangent, values, shapes[node.inputs[0]])
        for name, part in zip(node.inputs, back, strict=True):
            found[name] = found[name] + part if name in found else part
    return {name: found[name] for name in targets if name in found}


def slopes(node: Node, zhat: Array) -> Array:
    """f' of an activation, entry by entry."""
    match node.operator:
        case ops.Relu():
            return (zhat > 0).astype(np.float64)
        case ops.LeakyRelu(slope):
            return np.where(zhat > 0, 1.0, slope)
        case ops.Clip(lower, upper):
            return ((zhat > lower) & (zhat < upper)).astype(np.float64)
        case ops.Sigmoid():
            value = apply(node, [zhat], ())
            return np.asarray(value * (1 - value))
        case ops.Tanh():
            return np.asarray(1 - np.tanh(zhat) ** 2)
        case ops.Elu(alpha):
            return np.where(zhat > 0, 1.0, alpha * np.exp(np.minimum(zhat, 0)))
        case ops.Gelu(approximated):
            return _gelu_slope(zhat, approximated)
        case operator:
            raise TypeError(f"{node.name}: {type(operator).__name__} is no activation")


def _gelu_slope(x: Array, approximated: bool) -> Array:
    if not approximated:
        return np.asarray(ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
    rate = np.sqrt(2 / np.pi)
    share = np.tanh(rate * (x + 0.044715 * x**3))
    return np.asarray((1 + share + x * (1 - share**2) * rate * (1 + 3 * 0.044715 * x**2)) / 2)


def winners(windows: ops.Indices, x: Array) -> NDArray[np.int64]:
    """Which flat entry is the maximum of every window, [b, o]."""
    inside = np.where(windows >= 0, x[:, windows], -np.inf)
    best = inside.argmax(axis=2)
    return np.asarray(windows[np.arange(len(windows))[None], best], dtype=np.int64)


def _forward(node: Node, moved: list[Array], values: Values, shape: tuple[int, ...]) -> Array:
    operator = node.operator
    match operator:
        case ops.Dense() | ops.Conv():
            bare = replace(node, operator=replace(operator, bias=np.zeros_like(operator.bias)))
            return apply(bare, moved, shape)
        case ops.Scale(scale, _):
            return scale * moved[0]
        case ops.Select(index, _):
            return np.where(index >= 0, moved[0][:, index], 0.0)
        case ops.Sum() | ops.Concat():
            return apply(node, moved, shape)
        case ops.MaxPool(windows):
            return np.take_along_axis(moved[0], winners(windows, values[node.inputs[0]]), axis=1)
        case ops.Softmax():
            raise TypeError(f"{node.name}: a Softmax is the last operator, behind the scores")
        case ops.Gate():
            raise TypeError(f"{node.name}: a network with gates has no single derivative")
        case ops.Relu() | ops.LeakyRelu() | ops.Clip() | ops.Sigmoid() | ops.Tanh() | ops.Elu() | ops.Gelu():
            return slopes(node, values[node.inputs[0]]) * moved[0]
        case _ as unreachable:
            assert_never(unreachable)


def _backward(node: Node, back: Array, values: Values, shape: tuple[int, ...]) -> list[Array]:
    """The functionals [b, r, size of an input] for each input of a node."""
    batch, rows = back.shape[:2]
    match node.operator:
        case ops.Dense(weight, _):
            pulled = back.reshape(-1, weight.shape[0]) @ weight
            return [pulled.reshape(batch, rows, -1)]
        case ops.Conv() as conv:
            matrix = convolution_matrix(
                conv.weight,
                shape[1:],
                strides=conv.strides,
                pads=conv.pads,
                dilations=conv.dilations,
                groups=conv.groups,
            )
            flat = back.reshape(batch * rows, -1)
            return [np.asarray((matrix.T @ flat.T).T).reshape(batch, rows, -1)]
        case ops.Scale(scale, _):
            return [back * scale]
        case ops.Select(index, _):
            return [_scattered(back, np.broadcast_to(index, (batch, len(index))), prod(shape))]
        case ops.Sum(coefficients):
            return [coefficient * back for coefficient in coefficients]
        case ops.Concat():
            ends = np.cumsum([values[name].shape[1] for name in node.inputs])
            return list(np.split(back, ends[:-1], axis=2))
        case ops.MaxPool(windows):
            return [_scattered(back, winners(windows, values[node.inputs[0]]), prod(shape))]
        case ops.Softmax():
            raise TypeError(f"{node.name}: a Softmax is the last operator, behind the scores")
        case ops.Gate():
            raise TypeError(f"{node.name}: a network with gates has no single derivative")
        case ops.Relu() | ops.LeakyRelu() | ops.Clip() | ops.Sigmoid() | ops.Tanh() | ops.Elu() | ops.Gelu():
            return [back * slopes(node, values[node.inputs[0]])[:, None]]
        case _ as unreachable:
            assert_never(unreachable)


def _scattered(back: Array, index: NDArray[np.int64], size: int) -> Array:
    """back [b, r, o] added up at the entries index [b, o] (-1: nowhere), [b, r, size]."""
    batch, rows, _ = back.shape
    result = np.zeros((batch, size, rows))
    point, place = np.nonzero(index >= 0)
    np.add.at(result, (point, index[point, place]), back[point, :, place])
    return np.swapaxes(result, 1, 2)
