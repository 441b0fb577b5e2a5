"""Interval bounds of every tensor of a graph, batched: cheap, and the start of everything tighter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from repairsolver.bounds.curves import extremes
from repairsolver.bounds.tensors import (
    TensorGraph,
    TensorNode,
    absolute_terms,
    apply_activation,
    apply_linear,
)
from repairsolver.network import operators as ops

Interval = tuple[Tensor, Tensor]

# Relative outward widening after each operator: far above float64 rounding, far below any margin.
WIDENING = 1e-13


def interval_bounds(
    graph: TensorGraph, lower: Tensor, upper: Tensor, known: Mapping[int, Interval] | None = None
) -> list[Interval]:
    """Bounds [b, size] of the input and every node, by position, over the boxes [lower, upper] [b, n].

    They start anew from bounds that are `known`, by position.

    Linear nodes use centre and radius, y = M c + k and |M| r; activations are monotone except a leaky
    ReLU with negative slope, whose minimum over an interval may lie at 0, and GELU.
    """
    found: list[Interval] = [(lower, upper)]
    for position, node in enumerate(graph.nodes, start=1):
        arguments = [found[k] for k in node.inputs]
        low, high = node_interval(node, arguments, graph.shape(node.inputs[0]))
        if known and position in known:
            low, high = torch.maximum(low, known[position][0]), torch.minimum(high, known[position][1])
        found.append((low, high))
    return found


def node_interval(node: TensorNode, arguments: list[Interval], shape: tuple[int, ...]) -> Interval:
    """Bounds of one node's entries from those of its inputs; `shape` is that of the first input."""
    lower, upper = _node_interval(node, arguments, shape)
    if node.absolute:
        error = node.relative * _size(node, arguments, shape, (lower, upper)) + node.absolute
        lower, upper = lower - error, upper + error
    return _widen(lower, upper)


def _size(node: TensorNode, arguments: list[Interval], shape: tuple[int, ...], found: Interval) -> Tensor:
    """What the rounding of a float32 execution is relative to."""
    if isinstance(node.operator, ops.Linear):
        return absolute_terms(node, [torch.maximum(low.abs(), high.abs()) for low, high in arguments], shape)
    return torch.maximum(found[0].abs(), found[1].abs())


def _widen(lower: Tensor, upper: Tensor) -> Interval:
    slack = WIDENING * torch.maximum(lower.abs(), upper.abs())
    return lower - slack, upper + slack


def _node_interval(node: TensorNode, arguments: list[Interval], shape: tuple[int, ...]) -> Interval:
    operator = node.operator
    lower, upper = arguments[0]
    if isinstance(operator, ops.Linear):
        centres = [(low + high) / 2 for low, high in arguments]
        radii = [(high - low) / 2 for low, high in arguments]
        centre = apply_linear(node, centres, shape)
        radius = apply_linear(node, radii, shape, "magnitude")
        slack = 1e-14 * apply_linear(node, [c.abs() for c in centres], shape, "magnitude")
        return centre - radius - slack, centre + radius + slack
    if isinstance(operator, ops.MaxPool):
        windows = node.parameters["windows"]
        low, high = (functional.pad(x, (0, 1), value=-torch.inf)[:, windows].amax(2) for x in (lower, upper))
        return low, high
    if isinstance(operator, ops.Softmax):
        return torch.zeros_like(lower), torch.ones_like(upper)
    ends = apply_activation(node, lower), apply_activation(node, upper)
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    if isinstance(operator, ops.Curve):
        low, high = extremes(operator, lower, upper, low, high)
    if isinstance(operator, ops.LeakyRelu):
        low = torch.where((lower < 0) & (upper > 0), low.clamp(max=0), low)
    return low, high
