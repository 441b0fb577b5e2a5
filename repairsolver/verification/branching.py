"""Which kink to split at: an estimate for every neuron, then a bound of both children for the best few."""

from __future__ import annotations

import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes
from repairsolver.bounds.constrained import ConstrainedBox
from repairsolver.bounds.refreshing import line_losses
from repairsolver.bounds.slopes import turns
from repairsolver.network import operators as ops


def estimates(box: ConstrainedBox, boxes: Boxes, seen: dict[int, Tensor], share: Tensor) -> Tensor:
    """How much the relaxation of every kink costs the bound at most, [b, all kinks].

    Args:
        seen: the rows that arrived behind every activation, [b, 1, size], by its position.

    Source: Bunel et al. 2020, "Branch and Bound for Piecewise Linear Neural Network Verification",
    section 4.3 (BaBSR), with the loss of both lines.
    """
    found = []
    for k in box.kinks:
        low, high = (t[:, k.entries] for t in boxes.known[k.source])
        if k.position not in seen:
            found.append(torch.zeros_like(share[:, k.part]))
            continue
        row = seen[k.position][:, 0, k.entries]
        found.append(line_losses(row, k.threshold - low, high - k.threshold, share[:, k.part]))
    return torch.cat(found, dim=1)


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
        if k.position not in seen or not turns(box.graph, k.position):
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
