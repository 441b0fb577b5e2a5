"""Bounds of every pre-activation over batches of boxes: intervals first, then backward linear bounds."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import fields

import torch
from torch import Tensor

from repairsolver.bounds.backward import ROUNDING, Boxes, HalfSpace, extend_magnitudes, pull_back
from repairsolver.bounds.execution import LARGEST
from repairsolver.bounds.interval import Interval, interval_bounds, node_interval
from repairsolver.bounds.relaxation import Lines, relax, unstable
from repairsolver.bounds.tensors import TensorGraph, TensorNode
from repairsolver.errors import NetworkError
from repairsolver.network import operators as ops

CACHE = 1e7
# With so many times the loose entries in a packed batch, their list is faster, though it copies lines.
PADDED = 1.5


def pre_activations(graph: TensorGraph) -> list[tuple[int, int]]:
    """(position of the nonlinear node, position of its pre-activation), in order."""
    return [
        (position, node.inputs[0])
        for position, node in enumerate(graph.nodes, start=1)
        if not isinstance(node.operator, ops.Linear | ops.Softmax)
    ]


def root_boxes(graph: TensorGraph, lower: Tensor, upper: Tensor) -> Boxes:
    """Boxes [b, n] with interval bounds of every pre-activation.

    Raises:
        NetworkError: float32 arithmetic is asked about, and its numbers might overflow.
    """
    found = interval_bounds(graph, lower, upper)
    largest = max(float(torch.maximum(low.abs(), high.abs()).max()) for low, high in found)
    if any(node.absolute for node in graph.nodes) and not largest <= LARGEST:
        raise NetworkError(
            f"numbers up to {largest:.3g} are possible on the property's boxes; float32 executions are "
            "covered up to 2^39, as sums might overflow: use arithmetic 'real'"
        )
    return Boxes(lower, upper, {source: found[source] for _, source in pre_activations(graph)})


def tighten(
    graph: TensorGraph,
    boxes: Boxes,
    *,
    memory: float = 2.5e8,
    until: float = math.inf,
    further: dict[int, Tensor] | None = None,
    only: Collection[int] | None = None,
) -> None:
    """Improve the known bounds, front to back, by backward linear bounds of the unstable neurons.

    Args:
        boxes: bounds inherited from a larger box or from intervals; replaced by tighter ones.
        memory: bytes that one block of rows may hold.
        until: when `time.monotonic()` has passed this, the remaining bounds are kept as they are.
        further: by position, entries that are bounded although they are stable, [b, size] of bool.
        only: the pre-activations to be improved, by position; all if not given.
    """
    for position, source in pre_activations(graph):
        if only is not None and source not in only:
            continue
        lower, upper = boxes.known[source]
        if (found := image(graph, boxes.known, source)) is not None:
            lower = torch.maximum(lower, found[0])
            upper = torch.maximum(torch.minimum(upper, found[1]), lower)
            boxes.known[source] = lower, upper
            # Not the end of it: what lies below may be inherited and, being stable, as wide as ever.
        # On a whole box intervals are exact here; a part has its cut, and bounds that were inherited.
        if boxes.cut is None and (found is not None or mixings(graph, source) <= 1):
            continue
        node = graph.nodes[position - 1]
        pooled = isinstance(node.operator, ops.MaxPool)
        loose = torch.ones_like(lower, dtype=torch.bool) if pooled else unstable(node, lower, upper)
        if further is not None:
            loose = loose | further[source]
        if time.monotonic() < until and bool(loose.any()):
            boxes.known[source] = _tighten_one(graph, boxes, source, loose, memory, until)


def mixings(graph: TensorGraph, position: int) -> float:
    """How many layers that mix entries lie between the input and a tensor; infinite behind activations.

    Behind one of them at most, the interval bounds of a box are exact.
    """
    if not position:
        return 0
    node = graph.nodes[position - 1]
    if not isinstance(node.operator, ops.Linear):
        return math.inf
    own = isinstance(node.operator, ops.Dense | ops.Conv | ops.Sum | ops.Concat) or _repeats(node)
    return own + sum(mixings(graph, k) for k in node.inputs)


def _repeats(node: TensorNode) -> bool:
    """Whether a node copies an entry to several places."""
    if not isinstance(node.operator, ops.Select):
        return False
    index = node.parameters["index"]
    moved = index[index >= 0]
    return len(moved) > len(moved.unique())


def _tighten_one(
    graph: TensorGraph, boxes: Boxes, source: int, loose: Tensor, memory: float, until: float
) -> Interval:
    """Bound the loose entries of one tensor from both sides, packed box by box, or all in one list."""
    old_lower, old_upper = boxes.known[source]
    count = int(loose.sum(dim=1).max())
    if len(loose) * count > PADDED * int(loose.sum()):
        return _tighten_listed(graph, boxes, source, loose, memory, until)
    # The first `count` entries of a stable sort by looseness: every loose entry, then padding.
    index = torch.argsort(loose.to(torch.int8), dim=1, descending=True, stable=True)[:, :count]
    # Rows of one box that stay in the processor's cache take a third of the time.
    held = min(memory, CACHE) if len(loose) == 1 else memory
    chunk = max(1, int(held / (8 * 4 * len(loose) * _widest(graph, source))))
    parts = []
    for k in range(0, count, chunk):
        if time.monotonic() > until:
            break
        parts.append(_two_sided(graph, boxes, source, index[:, k : k + chunk]))
    if not parts:
        return old_lower, old_upper
    lower = torch.cat([low for low, _ in parts], dim=1)
    index = index[:, : lower.shape[1]]
    upper = torch.cat([high for _, high in parts], dim=1)
    lower = torch.maximum(lower, old_lower.gather(1, index))
    upper = torch.minimum(upper, old_upper.gather(1, index))
    # Each has its margin for rounding, so that a contradiction, however small, proves that no point of the
    # box matters. To go on would mean to go on with bounds of nothing.
    crossed = lower > upper
    if boxes.recorded:
        # Padding depends on the batch, which a checker does not see.
        crossed &= loose.gather(1, index)
    boxes.empty = crossed.any(dim=1) if boxes.empty is None else boxes.empty | crossed.any(dim=1)
    upper = torch.maximum(upper, lower)
    return old_lower.scatter(1, index, lower), old_upper.scatter(1, index, upper)


def _tighten_listed(
    graph: TensorGraph, boxes: Boxes, source: int, loose: Tensor, memory: float, until: float
) -> Interval:
    """Bound the loose entries of one tensor, each as if it had a box of its own: nothing is filled up."""
    lower, upper = (side.clone() for side in boxes.known[source])
    box, entry = loose.nonzero(as_tuple=True)
    _fill_caches(graph, boxes, source)
    chunk = max(1, int(memory / (8 * 12 * _widest(graph, source))))
    empty = torch.zeros_like(loose[:, 0]) if boxes.empty is None else boxes.empty
    for some in (slice(k, k + chunk) for k in range(0, len(box), chunk)):
        if time.monotonic() > until:
            break
        b, e = box[some], entry[some]
        low, high = _two_sided(graph, _rows_of(graph, boxes, source, b), source, e.unsqueeze(1))
        low, high = torch.maximum(low[:, 0], lower[b, e]), torch.minimum(high[:, 0], upper[b, e])
        empty = empty.index_put((b[low > high],), torch.ones_like(empty[:1]))
        lower[b, e], upper[b, e] = low, torch.maximum(high, low)
    boxes.empty = empty
    return lower, upper


def _fill_caches(graph: TensorGraph, boxes: Boxes, source: int) -> None:
    """Everything that rows behind a tensor meet, once for all of them."""
    extend_magnitudes(graph, boxes, source)
    for position, before in pre_activations(graph):
        elementwise = not isinstance(graph.nodes[position - 1].operator, ops.MaxPool)
        if position <= source and elementwise and position not in boxes.lines:
            boxes.lines[position] = relax(graph.nodes[position - 1], *boxes.known[before])


def _rows_of(graph: TensorGraph, boxes: Boxes, source: int, index: Tensor) -> Boxes:
    """The boxes of some rows, each as often as it is named, with what is needed below a tensor."""
    pooled = {
        before
        for position, before in pre_activations(graph)
        if isinstance(graph.nodes[position - 1].operator, ops.MaxPool) and position <= source
    }
    known = {k: (boxes.known[k][0][index], boxes.known[k][1][index]) for k in pooled}
    cut = boxes.cut and HalfSpace(boxes.cut.slope[index], boxes.cut.shift[index])
    lines = {
        k: Lines(*(getattr(x, f.name)[index] for f in fields(Lines)))
        for k, x in boxes.lines.items()
        if k <= source
    }
    magnitude = [size[index] for size in boxes.magnitude[: source + 1]]
    return Boxes(boxes.lower[index], boxes.upper[index], known, cut, lines, magnitude)


def _widest(graph: TensorGraph, source: int) -> int:
    return max(graph.size(k) for k in range(source + 1))


def _two_sided(graph: TensorGraph, boxes: Boxes, source: int, index: Tensor) -> Interval:
    rows = unit_rows(graph, source, index, boxes.lower.dtype)
    bound = pull_back(graph, boxes, {k: torch.cat([r, -r], dim=1) for k, r in rows[0].items()})
    least = bound.minimum(boxes.lower, boxes.upper, boxes.cut)
    offset, count = rows[1], index.shape[1]
    rounding = unit_rounding(graph, boxes, source, index, rows)
    return least[:, :count] + offset - rounding, -least[:, count:] + offset + rounding


def unit_rounding(
    graph: TensorGraph, boxes: Boxes, source: int, index: Tensor, rows: tuple[dict[int, Tensor], Tensor]
) -> Tensor:
    """What the offsets of `unit_rows` lose, and an execution where a layer is stepped over, [b, k]."""
    rounding = ROUNDING * rows[1].abs()
    node = graph.nodes[source - 1] if source else None
    if node is None or not node.absolute or source in rows[0]:
        return rounding
    extend_magnitudes(graph, boxes, source)
    lost = node.relative * boxes.magnitude[source] + node.absolute
    return rounding + lost.expand(len(index), -1).gather(1, index)


def image(graph: TensorGraph, known: dict[int, Interval], position: int) -> Interval | None:
    """Bounds of a tensor that is made entry by entry from bounded ones, or None if it is not.

    Behind activations, rearrangements and scalings alone, no linear bound is tighter than the interval.
    """
    node = graph.nodes[position - 1] if position else None
    if node is None or isinstance(node.operator, ops.Dense | ops.Conv | ops.Sum | ops.Concat | ops.MaxPool):
        return None
    source = node.inputs[0]
    below = image(graph, known, source) if isinstance(node.operator, ops.Linear) else known.get(source)
    return None if below is None else node_interval(node, [below], graph.shape(source))


def unit_rows(
    graph: TensorGraph, source: int, index: Tensor, dtype: torch.dtype
) -> tuple[dict[int, Tensor], Tensor]:
    """Rows that pick entries of a tensor, [b, k] or [1, k], and what is to be added to their bounds.

    A flat dense layer is stepped over by taking its weights' rows.
    """
    node = graph.nodes[source - 1] if source else None
    if node is not None and isinstance(node.operator, ops.Dense):
        weight, bias = node.parameters["weight"], node.parameters["bias"]
        if graph.size(node.inputs[0]) == weight.shape[1]:
            return {node.inputs[0]: weight[index]}, bias[index]
    unit = torch.zeros(*index.shape, graph.size(source), dtype=dtype, device=index.device)
    unit.scatter_(2, index.unsqueeze(2), 1.0)
    return {source: unit}, torch.zeros_like(index, dtype=dtype)
