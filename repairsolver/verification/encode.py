"""A network over one box as a mixed-integer program, node by node, by the layerwise encodings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import numpy as np
import torch
from scipy import sparse

from layerwise import affine, pool, relu, smooth
from layerwise.program import Expr, Program, stack
from repairsolver.bounds.curves import enclosed
from repairsolver.bounds.tensors import TensorNode
from repairsolver.errors import UnsupportedOperatorError
from repairsolver.network import operators as ops
from repairsolver.network.graph import Network, Node
from repairsolver.results import Array

# Intervals of smooth activations below this width are not cut into segments: an error of at most 1e-7.
NARROW = 1e-3

Known = Mapping[str, tuple[Array, Array]]


def encode_network(program: Program, network: Network, x: Expr, known: Known, *, segments: int = 1) -> Expr:
    """Add a network's nodes to a program and return its output.

    Exact for piecewise-linear networks (big-M). Sigmoid and tanh get a sound piecewise-linear envelope
    of `segments` pieces, ELU and GELU one of two lines, so that the program admits more than the
    network does.

    Args:
        x: the input columns, [n].
        known: bounds [size] of every pre-activation, by tensor name, valid on the whole box.

    Returns:
        The output's expressions, [m].

    Raises:
        UnsupportedOperatorError: a softmax (it is removed before).
    """
    values = {network.input_name: x}
    shapes = {network.input_name: network.input_shape} | {n.name: n.shape for n in network.nodes}
    for node in network.nodes:
        arguments = [values[name] for name in node.inputs]
        bounds = known.get(node.inputs[0])
        values[node.name] = encode_node(
            program, node, arguments, shapes[node.inputs[0]], bounds, segments=segments
        )
    return values[network.output.name]


def encode_node(
    program: Program,
    node: Node,
    arguments: list[Expr],
    shape: tuple[int, ...],
    bounds: tuple[Array, Array] | None,
    *,
    segments: int = 1,
) -> Expr:
    """Add one node to a program and return its output; see `encode_network`.

    Args:
        shape: of the first argument.
        bounds: of the first argument, [size] each; a linear node needs none.
    """
    if isinstance(node.operator, ops.Linear):
        return _linear(node, arguments, shape)
    if bounds is None:
        raise TypeError(f"{node.name}: no bounds of its pre-activation are known")
    return _nonlinear(program, node, arguments[0], *bounds, segments)


def _linear(node: Node, arguments: list[Expr], shape: tuple[int, ...]) -> Expr:
    x = arguments[0]
    match node.operator:
        case ops.Dense(weight, bias):
            copies = len(x) // weight.shape[1]
            block = weight if copies == 1 else sparse.kron(sparse.eye_array(copies), weight, format="csr")
            return affine.dense(x, block, np.tile(bias, copies))
        case ops.Conv() as conv:
            geometry = (conv.strides, conv.pads, conv.dilations, conv.groups)
            strides, pads, dilations, groups = geometry
            return affine.convolution(
                x,
                conv.weight,
                conv.bias,
                shape[1:],
                strides=strides,
                pads=pads,
                dilations=dilations,
                groups=groups,
            )
        case ops.Scale(scale, shift):
            return x * scale + shift
        case ops.Select(index, fill):
            moved = np.flatnonzero(index >= 0)
            pick = sparse.csr_array((np.ones(len(moved)), (moved, index[moved])), shape=(len(index), len(x)))
            return pick @ x + np.where(index >= 0, 0.0, fill)
        case ops.Sum(coefficients):
            total = arguments[0] * coefficients[0]
            for factor, term in zip(coefficients[1:], arguments[1:], strict=True):
                total = total + term * factor
            return total
        case ops.Concat():
            return stack(arguments)
        case _:
            raise TypeError(f"{node.name}: {type(node.operator).__name__} is not linear")


def _nonlinear(program: Program, node: Node, zhat: Expr, lower: Array, upper: Array, segments: int) -> Expr:
    operator = node.operator
    match operator:
        case ops.Relu():
            return relu.big_m(program, zhat, lower, upper)
        case ops.LeakyRelu(slope):
            return _leaky(program, zhat, lower, upper, slope)
        case ops.Clip(low, high):
            return relu.clip(program, zhat, lower, upper, low=low, high=high)
        case ops.MaxPool(windows):
            return pool.big_m(program, zhat, windows, lower, upper)
        case ops.Sigmoid():
            return _smooth(program, smooth.sigmoid, zhat, lower, upper, segments)
        case ops.Tanh():
            return _smooth(program, smooth.tanh, zhat, lower, upper, segments)
        case ops.Elu() | ops.Gelu():
            return _between(program, node, zhat, lower, upper)
        case ops.Softmax():
            raise UnsupportedOperatorError(
                f"{node.name}: a softmax has no encoding; remove it from the network"
            )
        case ops.Gate():
            raise TypeError(f"{node.name}: gates are decided before, case by case")
        case ops.Dense() | ops.Conv() | ops.Scale() | ops.Select() | ops.Sum() | ops.Concat():
            raise TypeError(f"{node.name}: {type(operator).__name__} is linear")
        case _ as unreachable:
            assert_never(unreachable)


def _between(program: Program, node: Node, zhat: Expr, lower: Array, upper: Array) -> Expr:
    """Any number between the two lines of an activation, `smooth.SLACK` outside of them at most."""
    ends = (torch.from_numpy(np.asarray(end, dtype=np.float64))[None] for end in (lower, upper))
    found = enclosed(TensorNode(node.name, node.operator, (0,), node.shape, {}), *ends)
    low, below, high, above = (
        side[0].numpy()
        for side in (found.lower_slope, found.lower_shift, found.upper_slope, found.upper_shift)
    )
    z = program.columns(len(lower), name="z")
    program.rows(z - zhat * low, lower=below - smooth.SLACK)
    program.rows(z - zhat * high, upper=above + smooth.SLACK)
    return z


def _smooth(
    program: Program, encode: smooth.Encode, zhat: Expr, lower: Array, upper: Array, segments: int
) -> Expr:
    """Narrow neurons get one segment: more would lie below the solver's tolerance, and help nothing."""
    narrow = upper - lower < NARROW
    groups = [(np.flatnonzero(narrow), 1), (np.flatnonzero(~narrow), segments)]
    parts = [encode(program, zhat[k], lower[k], upper[k], count) for k, count in groups]
    return stack(parts)[np.argsort(np.concatenate([k for k, _ in groups]))]


def _leaky(program: Program, zhat: Expr, lower: Array, upper: Array, slope: Array) -> Expr:
    """Slopes above 1 bend the other way: min(x, s x) = -leaky(-s x) with slope 1 / s."""
    steep = slope > 1
    sign = np.where(steep, -slope, 1.0)
    ends = np.stack([sign * lower, sign * upper])
    turned = relu.big_m(
        program,
        zhat * sign,
        ends.min(axis=0),
        ends.max(axis=0),
        np.where(steep, 1 / np.where(steep, slope, 1.0), slope),
    )
    return turned * np.where(steep, -1.0, 1.0)
