"""Which kink to split at: an estimate for every neuron, then a bound of both children for the best few."""

from __future__ import annotations

import torch
from torch import Tensor

from repairsolver.bounds.constrained import ConstrainedBox, Kinks, Part
from repairsolver.bounds.refreshing import line_losses
from repairsolver.bounds.relaxation import Lines
from repairsolver.bounds.tensors import apply_activation
from repairsolver.network import operators as ops


def estimates(box: ConstrainedBox, boxes: Part, seen: dict[int, Tensor], share: Tensor) -> Tensor:
    """How much the relaxation of every kink costs the bound at most, [b, all kinks].

    Args:
        seen: the rows that arrived behind every activation, [b, 1, size], by its position.

    Source: Bunel et al. 2020, "Branch and Bound for Piecewise Linear Neural Network Verification",
    section 4.3 (BaBSR), with the loss of both lines.
    """
    found, lines = [], box.turned(boxes, share)
    for k in box.kinks:
        low, high = (t[:, k.entries] for t in boxes.known[k.source])
        if k.position not in seen:
            found.append(torch.zeros_like(share[:, k.part]))
            continue
        row, at = seen[k.position][:, 0, k.entries], k.threshold.to(low.dtype)
        if isinstance(box.graph.nodes[k.position - 1].operator, ops.Sigmoid | ops.Tanh | ops.Curve):
            found.append(_smooth_losses(box, k, row, (low, at.expand_as(low), high), lines[k.position]))
        else:
            found.append(line_losses(row, at - low, high - at, share[:, k.part]))
    return torch.cat(found, dim=1)


def _smooth_losses(
    box: ConstrainedBox, k: Kinks, row: Tensor, points: tuple[Tensor, ...], lines: Lines
) -> Tensor:
    """The line that the row takes, at its largest distance from the function among some points."""
    node, entries = box.graph.nodes[k.position - 1], k.entries
    values = [apply_activation(node, x) for x in points]
    above = [lines.upper_slope[:, entries] * x + lines.upper_shift[:, entries] for x in points]
    below = [lines.lower_slope[:, entries] * x + lines.lower_shift[:, entries] for x in points]
    over = torch.stack([line - v for line, v in zip(above, values, strict=True)]).amax(dim=0)
    under = torch.stack([v - line for line, v in zip(below, values, strict=True)]).amax(dim=0)
    return row.abs() * torch.where(row < 0, over, under).clamp(min=0)


def first_multipliers(box: ConstrainedBox, seen: dict[int, Tensor], share: Tensor) -> tuple[Tensor, Tensor]:
    r"""Multipliers that give a child the touching line of its parent back, [b, all kinks] for each side.

    A row with coefficient $\nu$ that takes the touching line of slope $\alpha$ becomes $\nu z$ above the kink
    and 0 below it; the multipliers $\nu (1 - \alpha)$ and $\nu \alpha$ give back $\nu \alpha z$: the child
    starts where the parent stood.

    Args:
        seen: the rows that arrived behind every activation, [b, 1, size], by its position.
    """
    above, below = [], []
    for k in box.kinks:
        node, turn = box.graph.nodes[k.position - 1], share[:, k.part]
        if k.position not in seen or not isinstance(node.operator, ops.Relu | ops.LeakyRelu):
            above.append(torch.zeros_like(turn))
            below.append(torch.zeros_like(turn))
            continue
        row = seen[k.position][:, 0, k.entries]
        if isinstance(node.operator, ops.LeakyRelu):
            row = row * (1 - node.parameters["slope"][k.entries])
        touching = row.clamp(min=0)
        above.append(touching * (1 - turn))
        below.append(touching * turn)
    return torch.cat(above, dim=1), torch.cat(below, dim=1)
