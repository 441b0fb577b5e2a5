r"""Gradients of the violation, also where the network is flat.

Behind a saturated rectifier or clip the gradient is zero, although the way out is known: towards the kink.
There the backward pass lets a share of the gradient through every activation,
$a(z) + \epsilon (z - \mathrm{stop}(z))$: the network's values, with slopes $a'(z) + \epsilon$.

Source: Athalye, Carlini, Wagner 2018, "Obfuscated Gradients Give a False Sense of Security", section 4.1
(backward pass differentiable approximation).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from repairsolver.bounds.tensors import TensorGraph, apply
from repairsolver.network import operators as ops
from repairsolver.verification.query import Queries, slack_rows

ACTIVATIONS = (ops.Relu, ops.LeakyRelu, ops.Clip, ops.Sigmoid, ops.Tanh, ops.Elu, ops.Gelu)
# The share of the gradient that passes an activation where the true gradient is zero.
LEAK = 0.1
# Rows this close to the smallest one, as a share of the rows' spread, take part in a soft minimum.
SOFTNESS = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Slope:
    """Violation [b] at points, and the gradient [b, n] of what is climbed there."""

    value: Tensor
    gradient: Tensor


def slope_at(
    graph: TensorGraph,
    found: Queries,
    which: Tensor,
    points: Tensor,
    *,
    direction: Tensor | None = None,
    leaking: Tensor | None = None,
) -> Slope:
    r"""The violation at points [b, n] of queries `which` [b], and a gradient to climb.

    The gradient is that of the smallest row; on every second path, with several rows, that of a soft
    minimum, which does not zigzag along the ridge between them.

    Args:
        direction: paths with a row w [b, m] other than zero climb $w^T f(x)$ instead.
        leaking: paths [b] whose gradient passes saturated activations.
    """
    points = points.detach().requires_grad_(True)
    outputs = graph.forward(points) if leaking is None else _leaky(graph, points, leaking)
    rows = slack_rows(found, which, points, outputs)
    value = rows.amin(dim=1)
    climbed = value if rows.shape[1] == 1 else _soft_on_every_second(rows, value)
    if direction is not None:
        diverse = (direction != 0).any(dim=1)
        climbed = torch.where(diverse, (direction * outputs).sum(dim=1), climbed)
    (gradient,) = torch.autograd.grad(climbed.sum(), points)
    return Slope(value.detach(), gradient.nan_to_num(0.0, 0.0, 0.0))


def _soft_on_every_second(rows: Tensor, least: Tensor) -> Tensor:
    spread = (rows.amax(dim=1, keepdim=True) - rows.amin(dim=1, keepdim=True)).detach()
    warmth = (SOFTNESS * spread).clamp(min=1e-6)
    soft = -warmth[:, 0] * torch.logsumexp(-rows / warmth, dim=1)
    odd = torch.arange(len(rows), device=rows.device) % 2 == 1
    return torch.where(odd, soft, least)


def _leaky(graph: TensorGraph, points: Tensor, leaking: Tensor) -> Tensor:
    share = LEAK * leaking.to(points.dtype).unsqueeze(1)
    values = [points]
    for node in graph.nodes:
        arguments = [values[k] for k in node.inputs]
        value = apply(node, arguments, graph.shape(node.inputs[0]))
        if isinstance(node.operator, ACTIVATIONS):
            value = value + share * (arguments[0] - arguments[0].detach())
        values.append(value)
    return values[-1]
