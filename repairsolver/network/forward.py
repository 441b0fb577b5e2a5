"""The forward pass in numpy, float64: the reference that every other computation is tested against."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.special import expit, ndtr, softmax

from repairsolver.errors import NetworkError
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import (
    Clip,
    Concat,
    Conv,
    Dense,
    Elu,
    Gate,
    Gelu,
    LeakyRelu,
    MaxPool,
    Relu,
    Scale,
    Select,
    Sigmoid,
    Softmax,
    Sum,
    Tanh,
)
from repairsolver.results import Array


def forward(network: Network, points: NDArray[np.floating]) -> Array:
    """Evaluate a network in float64.

    Args:
        points: [b, n] or [n], flat inputs.

    Returns:
        [b, m] or [m].

    Raises:
        NetworkError: the points do not have n entries each.
    """
    single = np.ndim(points) == 1
    values = activations(network, np.atleast_2d(np.asarray(points, dtype=np.float64)))
    result = values[network.output.name]
    return result[0] if single else result


def activations(network: Network, points: Array) -> dict[str, Array]:
    """Every tensor of the graph, by name, for points [b, n]; flat, [b, size] each."""
    if points.ndim != 2 or points.shape[1] != network.input_size:
        raise NetworkError(
            f"{network.name}: expected points with {network.input_size} entries each, "
            f"got an array of shape {points.shape}"
        )
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    values = {network.input_name: points}
    for node in network.nodes:
        arguments = [values[name] for name in node.inputs]
        values[node.name] = apply(node, arguments, shapes[node.inputs[0]])
    return values


def apply(node: Node, arguments: list[Array], shape: tuple[int, ...]) -> Array:
    """One node on flat arguments [b, size]; `shape` is the shape of the first argument."""
    x, batch = arguments[0], len(arguments[0])
    match node.operator:
        case Dense(weight, bias):
            rows = x.reshape(-1, weight.shape[1])  # one product: numpy takes a stack matrix by matrix
            return (rows @ weight.T + bias).reshape(batch, node.size)
        case Conv() as conv:
            return convolve(conv, x.reshape(batch, *shape[1:])).reshape(batch, node.size)
        case Scale(scale, shift):
            return scale * x + shift
        case Select(index, fill):
            return np.where(index >= 0, x[:, index], fill)
        case Sum(coefficients):
            return np.asarray(sum(c * a for c, a in zip(coefficients, arguments, strict=True)))
        case Concat():
            return np.concatenate(arguments, axis=1)
        case Relu():
            return np.maximum(x, 0.0)
        case LeakyRelu(slope):
            return np.where(x >= 0, x, slope * x)
        case Clip(lower, upper):
            return np.clip(x, lower, upper)
        case Sigmoid():
            return np.asarray(expit(x))
        case Tanh():
            return np.tanh(x)
        case Elu(alpha):
            return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0)))
        case Gelu(approximated):
            share = (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2 if approximated else ndtr(x)
            return np.asarray(x * share)
        case MaxPool(windows):
            return np.asarray(np.where(windows >= 0, x[:, windows], -np.inf).max(axis=2))
        case Softmax(axis):
            result = softmax(x.reshape(batch, *shape), axis=axis if axis < 0 else axis + 1)
            return np.asarray(result).reshape(batch, node.size)
        case Gate() as gate:
            return np.where(gate.fires(x)[:, None], arguments[1], arguments[2])
        case _ as unreachable:
            assert_never(unreachable)


def convolve(conv: Conv, x: Array) -> Array:
    """Grouped, strided, dilated cross-correlation of x [b, c, *s] with zero padding: [b, o, *t]."""
    grouped, d = windows(conv, x), x.ndim - 2
    filters = conv.weight.reshape(conv.groups, -1, *conv.weight.shape[1:])
    contract = ([2, *range(3 + d, 3 + 2 * d)], [1, *range(2, 2 + d)])
    parts = [np.tensordot(grouped[:, g : g + 1], filters[g], axes=contract)[:, 0] for g in range(conv.groups)]
    stacked = np.concatenate([np.moveaxis(part, -1, 1) for part in parts], axis=1)
    return np.asarray(stacked + conv.bias.reshape(-1, *(1,) * d))


def windows(conv: Conv, x: Array) -> Array:
    """What outputs of a convolution read of x [b, c, *s], zeros beyond: [b, groups, c / groups, *t, *k]."""
    padded = np.pad(x, ((0, 0), (0, 0), *conv.pads))
    kernel = conv.weight.shape[2:]
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, conv.dilations, strict=True))
    every = sliding_window_view(padded, extent, axis=tuple(range(2, padded.ndim)))
    steps = tuple(slice(None, None, s) for s in conv.strides)
    taps = tuple(slice(None, None, d) for d in conv.dilations)
    every = every[(slice(None), slice(None), *steps, *taps)]
    batch, channels, *rest = every.shape
    return every.reshape(batch, conv.groups, channels // conv.groups, *rest)
