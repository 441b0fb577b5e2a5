r"""Backward linear bounds: functionals of a tensor, bounded by linear functions of the input.

For rows R over the tensor t, and boxes with known bounds of every pre-activation, `pull_back` gives A
and c with $R\,t(x) \ge A x + c$ for all x in the box; each activation is replaced by the line that
keeps the bound valid: the lower line where the row's coefficient is positive, else the upper one.

Source: Zhang et al. 2018, "Efficient Neural Network Robustness Certification with General Activation
Functions" (CROWN), theorem 3.2; Xu et al. 2020 for general graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from repairsolver.bounds.relaxation import AS_GOOD, Lines, relax
from repairsolver.bounds.tensors import TensorGraph, TensorNode, absolute_terms, adjoint, apply_activation
from repairsolver.network import operators as ops


@dataclass(frozen=True, slots=True, eq=False)
class HalfSpace:
    """The points with a x + c <= 0, one half-space for each box: a [b, n], c [b]."""

    slope: Tensor
    shift: Tensor


@dataclass(slots=True, eq=False)
class Boxes:
    """A batch of input boxes with the pre-activation bounds known for each of them.

    Args:
        lower, upper: corners, [b, n].
        known: by position of a tensor, its bounds ([b, size], [b, size]) over the box.
        cut: if given, only the points of each box in this half-space matter, and bounds need only hold
            there (a violation can lie nowhere else).
        lines: relaxations derived from `known`, by position of the activation (a cache).
        magnitude: by position, the largest sum of absolute terms at each entry, [b, size] (a cache).
        empty: boxes without a point that matters, as bounds of a neuron contradict each other, [b] of bool.
        recorded: of a proof that a checker replays: only neurons that it bounds too may make a box empty.
    """

    lower: Tensor
    upper: Tensor
    known: dict[int, tuple[Tensor, Tensor]]
    cut: HalfSpace | None = None
    lines: dict[int, Lines] = field(default_factory=dict)
    magnitude: list[Tensor] = field(default_factory=list)
    empty: Tensor | None = None
    recorded: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LinearBound:
    """A x + c, a lower bound of some functionals on each box.

    Args:
        slope: A, [b, s, n].
        shift: c, [b, s].
    """

    slope: Tensor
    shift: Tensor

    def minimum(self, lower: Tensor, upper: Tensor, cut: HalfSpace | None = None) -> Tensor:
        r"""The least value over each box [b, n], or over its points within the cut: [b, s].

        By weak duality, with $g = A x + k$ and $h = a x + c$,
        $\min_{x \in B,\, h \le 0} g \ge \max_{\mu \ge 0} \min_{x \in B} g + \mu h$.
        The right-hand side is concave and piecewise linear in mu, with kinks where an entry of A + mu a
        vanishes, so that its maximum lies at 0 or at one of n kinks. Every value is shrunk by the
        rounding of its evaluation.
        """
        centre, radius = ((lower + upper) / 2).unsqueeze(2), ((upper - lower) / 2).unsqueeze(2)
        reach = centre.abs() + radius
        middle = (self.slope @ centre).squeeze(2) + self.shift
        rounding = ROUNDING * ((self.slope.abs() @ reach).squeeze(2) + self.shift.abs())
        best = middle - (self.slope.abs() @ radius).squeeze(2) - rounding
        if cut is None:
            return best
        a, c = cut.slope.unsqueeze(1), cut.shift.unsqueeze(1)
        cut_middle = (a @ centre).squeeze(2) + c
        cut_rounding = ROUNDING * ((a.abs() @ reach).squeeze(2) + c.abs())
        for i in range(a.shape[2]):
            mu = -self.slope[..., i] / a[..., i]
            mu = torch.where((mu > 0) & (mu < torch.inf), mu, 0.0)
            spread = (torch.addcmul(self.slope, mu.unsqueeze(2), a).abs() @ radius).squeeze(2)
            best = torch.maximum(best, middle - rounding + mu * (cut_middle - cut_rounding) - spread)
        return best


# Margin for float64 rounding in the bound itself, relative to the magnitude of what is summed.
ROUNDING = 1e-12


def pull_back(
    graph: TensorGraph,
    boxes: Boxes,
    start: dict[int, Tensor],
    *,
    guide: bool = False,
    seen: dict[int, Tensor] | None = None,
) -> LinearBound:
    """Bound functionals of some tensors from below by linear functions of the input.

    Every step loses at most `ROUNDING` of the absolute terms that it sums (which may cancel), |R| (|M| |x|
    + |c|) for rows R over y = M x + c; this is taken off the shift.

    Args:
        start: rows R [b, s, size] by the position of the tensor they apply to; their sum is bounded.
        guide: leave the rounding out: such a bound may guide a search and proves nothing.
        seen: filled with the rows that arrived at every nonlinear node, by its position.

    Returns:
        The bound, s rows for each box.
    """
    rows = dict(start)
    batch, count = next(iter(rows.values())).shape[:2]
    shift = boxes.lower.new_zeros(batch, count)
    if not guide:
        extend_magnitudes(graph, boxes, max(rows))
    for position in range(len(graph.nodes), 0, -1):
        if position not in rows:
            continue
        here = rows.pop(position)
        node = graph.nodes[position - 1]
        if seen is not None and not isinstance(node.operator, ops.Linear):
            seen[position] = here
        if not guide and (lost := loss(boxes, position, node)) is not None:
            shift -= (here.abs() @ lost.unsqueeze(2)).squeeze(2)
        pulled, constant = _step(graph, boxes, position, node, here)
        if constant is not None:
            shift = shift + constant
        for source, part in zip(node.inputs, pulled, strict=True):
            rows[source] = rows[source] + part if source in rows else part
    slope = rows.get(0)
    if slope is None:
        slope = boxes.lower.new_zeros(batch, count, graph.input_size)
    return LinearBound(slope, shift)


def _step(
    graph: TensorGraph, boxes: Boxes, position: int, node: TensorNode, rows: Tensor
) -> tuple[list[Tensor], Tensor | None]:
    if isinstance(node.operator, ops.Linear):
        return adjoint(node, rows, [graph.shape(k) for k in node.inputs])
    if isinstance(node.operator, ops.MaxPool):
        return _max_pool(node, rows, *boxes.known[node.inputs[0]])
    if position not in boxes.lines:
        boxes.lines[position] = relax(node, *boxes.known[node.inputs[0]])
    lines = boxes.lines[position]
    # rows * (upper line where negative, else lower line), in as few passes over memory as possible.
    negative = rows.clamp(max=0)
    lower_slope, upper_slope = _by_row(lines.lower_slope), _by_row(lines.upper_slope)
    pulled = torch.addcmul(rows * lower_slope, negative, upper_slope - lower_slope)
    constant = _weighed(negative, lines.upper_shift - lines.lower_shift)
    if not isinstance(node.operator, ops.Relu):
        constant = constant + _weighed(rows, lines.lower_shift)
    return [pulled], constant


def _weighed(rows: Tensor, shift: Tensor) -> Tensor:
    return (rows * shift).sum(dim=2) if shift.dim() == 3 else (rows @ shift.unsqueeze(2)).squeeze(2)


def _by_row(slope: Tensor) -> Tensor:
    return slope if slope.dim() == 3 else slope.unsqueeze(1)


def loss(boxes: Boxes, position: int, node: TensorNode) -> Tensor | None:
    """What the entries of a node's tensor lose, by our rounding and by the execution's, [b, size]."""
    exact = isinstance(node.operator, ops.Relu | ops.Select | ops.Concat)
    share = (0.0 if exact else ROUNDING) + node.relative
    if exact and not node.absolute:
        return None
    return share * boxes.magnitude[position] + node.absolute


def extend_magnitudes(graph: TensorGraph, boxes: Boxes, last: int) -> None:
    if not boxes.magnitude:
        boxes.magnitude.append(torch.maximum(boxes.lower.abs(), boxes.upper.abs()))
    for position in range(len(boxes.magnitude), last + 1):
        node = graph.nodes[position - 1]
        size = _magnitude(graph, boxes, node)
        # In float32 an execution may exceed that by its rounding.
        boxes.magnitude.append(size * (1 + node.relative) + node.absolute if node.absolute else size)


def _magnitude(graph: TensorGraph, boxes: Boxes, node: TensorNode) -> Tensor:
    """|M| |x| + |c| for a linear node; the largest magnitude on the known bounds for others."""
    if isinstance(node.operator, ops.Linear):
        return absolute_terms(node, [boxes.magnitude[k] for k in node.inputs], graph.shape(node.inputs[0]))
    lower, upper = boxes.known[node.inputs[0]]
    if isinstance(node.operator, ops.MaxPool):
        largest = functional.pad(torch.maximum(lower.abs(), upper.abs()), (0, 1))
        return largest[:, node.parameters["windows"]].amax(dim=2)
    ends = apply_activation(node, lower), apply_activation(node, upper)
    return torch.maximum(ends[0].abs(), ends[1].abs())


def _max_pool(node: TensorNode, rows: Tensor, lower: Tensor, upper: Tensor) -> tuple[list[Tensor], Tensor]:
    """max_j x_j >= x_k for any k: the one with the largest lower bound; <= x_k if k dominates, else max u.

    Source: Singh et al. 2019 (DeepPoly), section 4.5.
    """
    windows = node.parameters["windows"]
    low = functional.pad(lower, (0, 1), value=-torch.inf)[:, windows]
    high = functional.pad(upper, (0, 1), value=-torch.inf)[:, windows]
    # The first of those that are as good, so that rounding does not choose, nor a checker otherwise.
    best = low.amax(dim=2, keepdim=True)
    choice = (low >= best - AS_GOOD * (1 + best.abs())).to(torch.int8).argmax(dim=2)
    best = low.gather(2, choice.unsqueeze(2))[:, :, 0]
    others = high.scatter(2, choice.unsqueeze(2), -torch.inf).amax(dim=2)
    dominated = (others <= best).unsqueeze(1)
    entry = windows.gather(1, choice.T).T
    moved = torch.where(dominated | (rows > 0), rows, torch.zeros_like(rows))
    pulled = torch.zeros(*rows.shape[:2], lower.shape[1], dtype=rows.dtype, device=rows.device)
    pulled.scatter_add_(2, entry.unsqueeze(1).expand_as(moved), moved)
    return [pulled], ((rows - moved) @ high.amax(dim=2).unsqueeze(2)).squeeze(2)
