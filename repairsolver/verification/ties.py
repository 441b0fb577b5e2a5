r"""Boxes on which nothing but a tie is left to decide.

A box is *tied* if no point of it violates by more than rounding, $\min_x \max_r g_r(x) \ge -\epsilon$ by
its bound or by intervals, and some point meets all rows with equality within rounding,
$\max_r g_r(x) \le \epsilon$. A proof excludes ties, so that not all of it can be proved, and no violation
larger than rounding can be found in it; halving such a box along a tie of positive measure never ends. So it
is left open and said to be tied. $\epsilon$ is $2^{-40}$ of the terms $|C| |y| + |D| |x| + |d|$, the largest
on the box: somewhat above the rounding of float64, and far below that of float32.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.interval import interval_bounds
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.results import Array, counted
from repairsolver.verification.frontier import Open
from repairsolver.verification.query import Queries, slack

SMALL = 2.0**-40
# Points of tied boxes that are replayed before they are given up: rounding of a run may violate there.
BOXES, POINTS = 256, 32


def suspects(graph: TensorGraph, found: Queries, boxes: Open) -> tuple[Tensor, Tensor, Tensor]:
    """A suspicious point of each box [b, n], its violation min_r -g_r [b], and which boxes are tied [b].

    The point is the middle, or, where a box with a bound of 0 (within rounding) has no tie there, the corner
    to which the violation grows.
    """
    points = (boxes.lower + boxes.upper) / 2
    measured = slack(found, boxes.query, points, graph.forward(points))
    floor, terms = _floor(graph, found, boxes)
    small = SMALL * terms
    tied = torch.maximum(boxes.bound, floor) >= -small
    chosen = (tied & (measured < -small)).nonzero()[:, 0]
    if len(chosen):
        corners = _climbed(graph, found, boxes[chosen], points[chosen])
        heights = slack(found, boxes.query[chosen], corners, graph.forward(corners))
        higher = heights > measured[chosen]
        points = points.index_copy(0, chosen[higher], corners[higher])
        measured = measured.index_copy(0, chosen[higher], heights[higher])
    return points, measured, tied & (measured >= -small)


def _floor(graph: TensorGraph, found: Queries, boxes: Open) -> tuple[Tensor, Tensor]:
    """max_r of the least g_r by intervals [b], exact where neurons rest; and the largest terms [b]."""
    output, inputs, bound = found.output[boxes.query], found.input[boxes.query], found.bound[boxes.query]
    ends = interval_bounds(graph, boxes.lower, boxes.upper, boxes.known)[-1]
    least, most = -bound, bound.abs()
    for rows, (low, high) in ((output, ends), (inputs, (boxes.lower, boxes.upper))):
        least = least + _product(rows.clamp(min=0), low) + _product(rows.clamp(max=0), high)
        most = most + _product(rows.abs(), torch.maximum(low.abs(), high.abs()))
    return least.amax(dim=1), most.amax(dim=1)


def _product(rows: Tensor, values: Tensor) -> Tensor:
    return (rows @ values.unsqueeze(2)).squeeze(2)


def _climbed(graph: TensorGraph, found: Queries, boxes: Open, points: Tensor) -> Tensor:
    """The corners in the direction of the violation's gradient; inputs that it does not move stay."""
    with torch.inference_mode(False), torch.enable_grad():
        start = points.clone().requires_grad_(True)
        height = slack(found, boxes.query, start, graph.forward(start)).sum()
        (gradient,) = torch.autograd.grad(height, start)
    return torch.where(gradient > 0, boxes.upper, torch.where(gradient < 0, boxes.lower, points))


def samples(boxes: Open, seed: int) -> list[tuple[int, Array]]:
    """Random points of the first tied boxes, by query."""
    rng = np.random.default_rng(seed)
    lower, upper = (t[:BOXES].cpu().numpy()[:, None] for t in (boxes.lower, boxes.upper))
    points = lower + rng.random((len(lower), POINTS, lower.shape[2])) * (upper - lower)
    return list(zip(boxes.query[:BOXES].tolist(), points, strict=True))


def reason(boxes: Open, points: Tensor) -> str:
    """Why tied boxes stay open, with one tie."""
    values = ", ".join(f"{value:.9g}" for value in points[0].tolist()[:8])
    more = ", ..." if points.shape[1] > 8 else ""
    kind = counted(len(boxes), "open box", "open boxes")
    return (
        f"A tie: at the input ({values}{more}) the rows of a conjunction are met with equality, within "
        f"rounding, and nothing near it violates by more ({kind} of this kind). Proofs exclude ties, so that "
        "this can be neither proved nor refuted; move the threshold, or repair with a margin."
    )
