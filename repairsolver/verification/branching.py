"""Which kink to split at: an estimate for every neuron, then a bound of both children for the best few."""

from __future__ import annotations

import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes
from repairsolver.bounds.constrained import ConstrainedBox
from repairsolver.bounds.refreshing import line_losses


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
