r"""Boxes on which nothing but a tie is left to decide.

A box is *tied* if no point of it violates by more than rounding, $\min_x \max_r g_r(x) \ge -\epsilon$ by
its bound or by intervals, and some point meets all rows with equality within rounding,
$\max_r g_r(x) \le \epsilon$. A proof excludes ties, so that not all of it can be proved, and no violation
larger than rounding can be found in it; halving such a box along a tie of positive measure never ends. So it
is left open and said to be tied. $\epsilon$ is $2^{-40}$ of the terms $|C| |y| + |D| |x| + |d|$, the largest
on the box: somewhat above the rounding of float64, and far below that of float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes
from repairsolver.bounds.interval import interval_bounds
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.results import Array, counted
from repairsolver.verification.frontier import Open
from repairsolver.verification.query import Queries, slack

SMALL = 2.0**-40
# Of the terms of a row: farther from a violation, no rounding of a float32 execution is worth a look.
NEAR = 2.0**-8
Prove = Callable[[Boxes, Tensor], Tensor]
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


def unprovable(
    graph: TensorGraph, found: Queries, boxes: Open, points: Tensor, measured: Tensor, prove: Prove
) -> Tensor:
    r"""Which boxes are given up because a point in them cannot be proved even by itself [b], in float32.

    An execution may violate at such a point by its rounding $\delta$, although the exact network does not.
    No proof covers it, however small its box, so that its query cannot be proved any more; and halving boxes
    along a set of such points never ends. So all boxes of the query whose bound is within $2 \delta$ of a
    violation are left open. Nothing is given up near a point that violates.

    Args:
        points, measured: as `suspects` gives them.
        prove: the bounds [b] that the search has for boxes of these queries.
    """
    given_up = torch.zeros_like(measured, dtype=torch.bool)
    if not any(node.absolute for node in graph.nodes) or not len(boxes):
        return given_up
    near = (measured < 0) & (boxes.bound >= -NEAR * _floor(graph, found, boxes)[1])
    chosen = near.nonzero()[:, 0]
    if not len(chosen):
        return given_up
    at, query = points[chosen], boxes.query[chosen]
    alone = root_boxes(graph, at, at)
    tighten(graph, alone)
    lowest = prove(alone, query)
    stuck = torch.isin(query, query[lowest <= 0])
    rounding = -measured[chosen] - lowest
    return given_up.index_copy(0, chosen, stuck & (boxes.bound[chosen] >= -2 * rounding))


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
    values, kind = _values(points), counted(len(boxes), "open box", "open boxes")
    return (
        f"A tie: at the input ({values}) the rows of a conjunction are met with equality, within "
        f"rounding, and nothing near it violates by more ({kind} of this kind). Proofs exclude ties, so that "
        "this can be neither proved nor refuted; move the threshold, or repair with a margin."
    )


def float32_reason(boxes: Open, points: Tensor) -> str:
    """Why boxes stay open where no float32 execution is proved, with one such input."""
    values, kind = _values(points), counted(len(boxes), "open box", "open boxes")
    return (
        f"Within float32 rounding of a violation: at the input ({values}) the exact network does not "
        f"violate, but by so little that an execution may ({kind} of this kind). This can be neither proved "
        "nor refuted for every execution; arithmetic 'real' may prove the exact network, or move the "
        "threshold, or repair with a margin."
    )


def _values(points: Tensor) -> str:
    """The first entries of the first point."""
    more = ", ..." if points.shape[1] > 8 else ""
    return ", ".join(f"{value:.9g}" for value in points[0].tolist()[:8]) + more
