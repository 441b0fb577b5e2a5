"""Which relaxations have a parameter to choose for every entry, and their lines for given ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from repairsolver.bounds.relaxation import Lines, relax, relax_with
from repairsolver.bounds.tangents import tangents
from repairsolver.bounds.tensors import TensorGraph, TensorNode
from repairsolver.network import operators as ops

# Shares, between 0 and 1, [b, size] or one for each row, [b, s, size], to lines that are valid for any.
Turn = Callable[[Tensor], Lines]


def turns(graph: TensorGraph, position: int) -> bool:
    """Whether a node's relaxation has a parameter to choose."""
    operator = graph.nodes[position - 1].operator
    return isinstance(operator, ops.Relu | ops.LeakyRelu | ops.Sigmoid | ops.Tanh)


def turning(node: TensorNode, lower: Tensor, upper: Tensor, lines: Lines | None = None) -> Turn:
    """The lines of an elementwise activation on [lower, upper] as a function of the shares.

    Slopes of touching lines for ReLU and leaky ReLU, points of tangency for sigmoid and tanh; other
    activations keep their lines.

    Args:
        lines: what `relax` found, where it is known already.
    """
    if isinstance(node.operator, ops.Sigmoid | ops.Tanh):
        return tangents(node, lower, upper).lines
    found = relax(node, lower, upper) if lines is None else lines
    bent = (lower < 0) & (upper > 0)
    return lambda share: relax_with(node, found, bent, share)


def first_share(node: TensorNode, lower: Tensor, upper: Tensor) -> Tensor:
    """Where optimisation starts: the adaptive choice of CROWN for kinks, the middle for tangents."""
    if isinstance(node.operator, ops.Sigmoid | ops.Tanh):
        return torch.full_like(lower, 0.5)
    return (upper > -lower).to(lower.dtype)
