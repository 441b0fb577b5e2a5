r"""Optimised slopes: the free slopes of ReLU relaxations climbed along the gradient of the final bound.

Every slope within the two of the function keeps the relaxation sound, so that the search for better
ones may run in float32; what it finds is evaluated once more in float64, which is the proof.

Source: Xu et al. 2021, "Fast and Complete: Enabling Complete Neural Network Verification with Rapid and
Massively Parallel Incomplete Verifiers" (alpha-CROWN), section 3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes, LinearBound, pull_back
from repairsolver.bounds.relaxation import Lines, unstable
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.bounds.tighten import image, pre_activations, unit_rounding, unit_rows
from repairsolver.bounds.turning import Turn, first_share, turning, turns

# Adam's constants (Kingma and Ba 2015) and the decay of the step.
MOMENTUM, SQUARES, DECAY = 0.9, 0.999, 0.97
RATE = 0.15
# Bytes of a block of rows, and the least gain in width for which the next blocks of a tensor follow.
BLOCK, GAIN = 1e7, 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """Something to optimise: where it starts, its first step, and the interval it stays in."""

    start: Tensor
    rate: float
    least: float = -math.inf
    most: float = math.inf


def climb(
    value: Callable[[list[Tensor]], Tensor],
    parameters: Sequence[Parameter],
    steps: int,
    *,
    enough: float = math.inf,
    until: float = math.inf,
) -> tuple[list[Tensor], Tensor]:
    """Projected Adam ascent of many independent values at once.

    Args:
        value: a differentiable function of the parameters, one value for each of their leading indices.
        steps: evaluations.
        enough: stop when every value is above this.
        until: stop when `time.monotonic()` has passed this.

    Returns:
        The best parameters seen, each value by its own, and the best values. Never worse than the start.
    """
    points = [p.start.detach().clone() for p in parameters]
    best, best_value = list(points), None
    first = [torch.zeros_like(x) for x in points]
    second = [torch.zeros_like(x) for x in points]
    for step in range(1, steps + 1):
        leaves = [x.detach().requires_grad_(True) for x in points]
        values = value(leaves)
        now = values.detach()
        better = torch.ones_like(now, dtype=torch.bool) if best_value is None else now > best_value
        best = [torch.where(_stretch(better, x), x, b) for x, b in zip(points, best, strict=True)]
        best_value = now if best_value is None else torch.maximum(now, best_value)
        settled = bool((best_value > enough).all()) or not values.requires_grad
        if step == steps or settled or time.monotonic() > until:
            break
        gradients = torch.autograd.grad(values.sum(), leaves, materialize_grads=True)
        for k, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            first[k].mul_(MOMENTUM).add_(g, alpha=1 - MOMENTUM)
            second[k].mul_(SQUARES).addcmul_(g, g, value=1 - SQUARES)
            size = (second[k] / (1 - SQUARES**step)).sqrt_().add_(1e-12)
            move = p.rate * DECAY**step / (1 - MOMENTUM**step)
            points[k] = points[k].addcdiv(first[k], size, value=move).clamp_(p.least, p.most)
    assert best_value is not None
    return best, best_value


def _stretch(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *(1,) * (like.dim() - mask.dim()))


def least_value(bound: LinearBound, lower: Tensor, upper: Tensor) -> Tensor:
    """min over the box of A x + c, [b, s], differentiable and without its rounding: it guides."""
    centre, radius = ((lower + upper) / 2).unsqueeze(2), ((upper - lower) / 2).unsqueeze(2)
    return (bound.slope @ centre - bound.slope.abs() @ radius).squeeze(2) + bound.shift


def cast(boxes: Boxes, dtype: torch.dtype) -> Boxes:
    """The same boxes with other numbers: rounded, for guidance."""
    known = {k: (low.to(dtype), high.to(dtype)) for k, (low, high) in boxes.known.items()}
    return Boxes(boxes.lower.to(dtype), boxes.upper.to(dtype), known)


@dataclass(frozen=True, slots=True, eq=False)
class RowSlopes:
    """The slopes found for the bounds of some entries of one tensor.

    Args:
        entries: [k].
        shares: by the position of every activation before it, [2 k, size], float32: the first k rows
            are for lower bounds, the others for upper bounds.
    """

    entries: Tensor
    shares: dict[int, Tensor]


def tighten_slopes(
    graph: TensorGraph,
    fast: TensorGraph,
    boxes: Boxes,
    *,
    steps: int = 16,
    memory: float = 2.5e8,
    until: float = math.inf,
) -> dict[int, list[RowSlopes]]:
    """Improve the known bounds of one box, front to back, every neuron with slopes of its own.

    Large tensors are bounded in blocks; where the first gains next to nothing, the others are left out.

    Args:
        graph: in float64; its bounds are kept.
        fast: the same network in float32; it guides.
        boxes: one box (b = 1) with bounds of every pre-activation; replaced by tighter ones.
        memory: bytes that one block of rows may hold.
        until: when `time.monotonic()` has passed this, the remaining bounds are kept as they are.

    Returns:
        The slopes, by tensor, in blocks; only as many as fit into `memory`.
    """
    kept: dict[int, list[RowSlopes]] = {}
    memory_left = memory
    for position, source in pre_activations(graph):
        lower, upper = boxes.known[source]
        if (found := image(graph, boxes.known, source)) is not None:
            lower = torch.maximum(lower, found[0])
            boxes.known[source] = lower, torch.maximum(torch.minimum(upper, found[1]), lower)
            continue
        bends = [p for p, _ in pre_activations(graph) if p <= source and turns(graph, p)]
        loose = unstable(graph.nodes[position - 1], lower, upper)[0].nonzero()[:, 0]
        if not bends or not len(loose):
            continue
        widest = sum(graph.size(p) for p in bends) + max(graph.size(k) for k in range(source + 1))
        for index in loose.unsqueeze(0).split(max(1, int(min(memory, BLOCK) / (4 * 12 * widest))), dim=1):
            if time.monotonic() > until:
                break
            before = _widths(boxes, source, index)
            slopes = _tighten_block(graph, fast, boxes, source, index, bends, steps, until)
            memory_left -= sum(4 * share.numel() for share in slopes.shares.values())
            if memory_left > 0:
                kept.setdefault(source, []).append(slopes)
            if _widths(boxes, source, index) > (1 - GAIN) * before:
                break
    return kept


def _widths(boxes: Boxes, source: int, index: Tensor) -> float:
    lower, upper = boxes.known[source]
    return float((upper - lower).gather(1, index).sum())


def _tighten_block(
    graph: TensorGraph,
    fast: TensorGraph,
    boxes: Boxes,
    source: int,
    index: Tensor,
    bends: list[int],
    steps: int,
    until: float,
) -> RowSlopes:
    """Bound some entries [1, k] of a tensor from both sides."""
    guide = cast(boxes, fast.dtype)
    rows, _ = _both_sides(fast, source, index)
    turned = {p: _turn(fast, guide, p) for p in bends}

    def value(shares: list[Tensor]) -> Tensor:
        lines = {p: turned[p](share) for p, share in zip(bends, shares, strict=True)}
        bound = pull_back(fast, _with(guide, lines), rows, guide=True)
        return least_value(bound, guide.lower, guide.upper)

    count = 2 * index.shape[1]
    nodes = [fast.nodes[p - 1] for p in bends]
    starts = [first_share(node, *guide.known[node.inputs[0]]) for node in nodes]
    starts = [share.unsqueeze(1).expand(-1, count, -1) for share in starts]
    shares, _ = climb(value, [Parameter(s, RATE, 0.0, 1.0) for s in starts], steps, until=until)
    exact = {p: share.to(graph.dtype).clamp(0, 1) for p, share in zip(bends, shares, strict=True)}
    lines = {p: _turn(graph, boxes, p)(share) for p, share in exact.items()}
    rows, offset = _both_sides(graph, source, index)
    bound = pull_back(graph, _with(boxes, lines), rows)
    rounding = unit_rounding(graph, boxes, source, index.repeat(1, 2), (rows, offset))
    least = bound.minimum(boxes.lower, boxes.upper) + offset - rounding
    low, high = least[:, : count // 2], -least[:, count // 2 :]
    old_low, old_high = boxes.known[source]
    low = torch.fmax(low, old_low.gather(1, index))
    high = torch.maximum(torch.fmin(high, old_high.gather(1, index)), low)
    boxes.known[source] = old_low.scatter(1, index, low), old_high.scatter(1, index, high)
    return RowSlopes(index[0], {p: share[0] for p, share in zip(bends, shares, strict=True)})


def _both_sides(graph: TensorGraph, source: int, index: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    rows, offset = unit_rows(graph, source, index, graph.dtype)
    return {k: torch.cat([r, -r], dim=1) for k, r in rows.items()}, torch.cat([offset, -offset], dim=1)


def _turn(graph: TensorGraph, boxes: Boxes, position: int) -> Turn:
    node = graph.nodes[position - 1]
    return turning(node, *boxes.known[node.inputs[0]])


def _with(boxes: Boxes, lines: dict[int, Lines]) -> Boxes:
    return Boxes(boxes.lower, boxes.upper, boxes.known, boxes.cut, dict(lines))
