r"""Bounds on parts of a box that split constraints cut out: some pre-activations lie beyond a kink.

A part is the set of points of a box where $\sigma_k (z_k - t_k) \ge 0$ for some neurons k, with signs
$\sigma_k = \pm 1$ and kinks t_k of their activations. For every $\beta \ge 0$, by weak duality,

$$ \min_{x:\ \sigma_k (z_k(x) - t_k) \ge 0} g(x) \;\ge\;
   \min_x\; g(x) - \sum_k \beta_k \sigma_k (z_k(x) - t_k), $$

and the right-hand side is bounded from below by pulling back g together with rows on the z_k. Slopes
and multipliers are optimised in float32; the proof is their evaluation in float64.

Source: Wang et al. 2021, "Beta-CROWN: Efficient Bound Propagation with Per-neuron Split Constraints",
theorem 3.1 and equation 12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from repairsolver.bounds.backward import ROUNDING, Boxes, LinearBound, extend_magnitudes, pull_back
from repairsolver.bounds.interval import Interval
from repairsolver.bounds.relaxation import Lines, relax, relax_with
from repairsolver.bounds.slopes import cast, first_share
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.bounds.tighten import image, pre_activations
from repairsolver.network import operators as ops


@dataclass(frozen=True, slots=True, eq=False)
class Kinks:
    """The kinks at one value of one activation's entries that lie inside their bounds.

    Args:
        position, source: of the activation, and of its pre-activation.
        entries: which entries, [u].
        threshold: the kink.
        first: where these kinks begin among all kinks of the network.
    """

    position: int
    source: int
    entries: Tensor
    threshold: float
    first: int

    @property
    def part(self) -> slice:
        return slice(self.first, self.first + len(self.entries))


def find_kinks(graph: TensorGraph, known: dict[int, Interval]) -> tuple[Kinks, ...]:
    """All kinks of ReLU, leaky ReLU and clip inside the bounds of one box [1, size]."""
    found: list[Kinks] = []
    for position, source in pre_activations(graph):
        lower, upper = known[source]
        for threshold in _thresholds(graph.nodes[position - 1].operator):
            entries = ((lower < threshold) & (upper > threshold))[0].nonzero()[:, 0]
            if len(entries):
                first = found[-1].part.stop if found else 0
                found.append(Kinks(position, source, entries, threshold, first))
    return tuple(found)


def _thresholds(operator: ops.Operator) -> tuple[float, ...]:
    if isinstance(operator, ops.Relu | ops.LeakyRelu):
        return (0.0,)
    if isinstance(operator, ops.Clip):
        return tuple(dict.fromkeys(t for t in (operator.lower, operator.upper) if math.isfinite(t)))
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class Functionals:
    """One functional C y + D x - d for each part: C [b, 1, m], D [b, 1, n], d [b, 1]."""

    output: Tensor
    input: Tensor
    bound: Tensor


class ConstrainedBox:
    """One box, its kinks, and linear bounds of functionals on the parts that signs cut out of it.

    Args:
        graph: the precision of its numbers is that of all bounds.
        boxes: one box (b = 1) with bounds of every pre-activation.
        kinks: the kinks that parts may be split at, found in float64.
    """

    def __init__(self, graph: TensorGraph, boxes: Boxes, kinks: tuple[Kinks, ...]) -> None:
        self.graph, self.kinks = graph, kinks
        self.root = cast(boxes, graph.dtype)
        self.total = kinks[-1].part.stop if kinks else 0
        extend_magnitudes(graph, self.root, len(graph.nodes))

    def ranges(self) -> tuple[Tensor, Tensor]:
        """The bounds of every kink's pre-activation on the whole box, [1, all kinks] each."""
        sides = zip(*(self._at(self.root.known[k.source], k) for k in self.kinks), strict=True)
        low, high = (torch.cat(side, dim=1) for side in sides)
        return low, high

    def _at(self, pair: Interval, k: Kinks) -> Interval:
        return pair[0][:, k.entries], pair[1][:, k.entries]

    def thresholds(self) -> Tensor:
        """The values of all kinks, [all kinks]."""
        return torch.cat(
            [torch.full_like(k.entries, 1, dtype=self.graph.dtype) * k.threshold for k in self.kinks]
        )

    def part(self, lower: Tensor, upper: Tensor) -> Boxes:
        """The box with the bounds and lines that hold on each part.

        Args:
            lower, upper: bounds of every kink's pre-activation, on the part's side, [b, all kinks].
        """
        known = dict(self.root.known)
        for k in self.kinks:
            low, high = (t.expand(len(lower), -1) for t in known[k.source])
            low_here = torch.maximum(low[:, k.entries], lower[:, k.part])
            high_here = torch.minimum(high[:, k.entries], upper[:, k.part])
            known[k.source] = low.index_copy(1, k.entries, low_here), high.index_copy(1, k.entries, high_here)
        for _, source in pre_activations(self.graph):
            if (found := image(self.graph, known, source)) is not None:
                known[source] = found
        boxes = Boxes(self.root.lower, self.root.upper, known, magnitude=self.root.magnitude)
        for position, source in pre_activations(self.graph):
            node = self.graph.nodes[position - 1]
            if not isinstance(node.operator, ops.MaxPool):
                boxes.lines[position] = relax(node, *known[source])
        return boxes

    def first_shares(self) -> Tensor:
        """Slopes to start from, [1, all kinks]."""
        shares = [first_share(*(t[:, k.entries] for t in self.root.known[k.source])) for k in self.kinks]
        return torch.cat(shares, dim=1)

    def bound(
        self,
        boxes: Boxes,
        rows: Functionals,
        share: Tensor,
        sign: Tensor,
        beta: Tensor,
        *,
        guide: bool = False,
        seen: dict[int, Tensor] | None = None,
    ) -> LinearBound:
        """The linear bound for given slopes and multipliers, valid for any of them, [b, 1, n].

        Args:
            boxes: what `part` returned.
            share: the slopes of ReLUs, between 0 and 1, [b, all kinks].
            beta: multipliers, at least 0, [b, all kinks].
            sign: 1 above a kink, -1 below it, 0 for both (its multiplier does not count), [b, all kinks].
            guide, seen: as `pull_back` takes them.
        """
        pull = -sign * beta
        start = {len(self.graph.nodes): rows.output}
        if bool(rows.input.any()):
            start[0] = rows.input
        shift = -rows.bound
        for k in self.kinks:
            push = pull[:, k.part]
            zero = push.new_zeros(len(push), 1, self.graph.size(k.source))
            added = zero.index_copy(2, k.entries, push.unsqueeze(1))
            start[k.source] = start[k.source] + added if k.source in start else added
            if k.threshold:
                shift = shift - k.threshold * push.sum(dim=1, keepdim=True)
        lines = dict(boxes.lines) | self._turned(boxes, share)
        used = Boxes(boxes.lower, boxes.upper, boxes.known, None, lines, boxes.magnitude)
        found = pull_back(self.graph, used, start, guide=guide, seen=seen)
        if not guide:
            spent = sum(abs(k.threshold) * pull[:, k.part].abs().sum(1, keepdim=True) for k in self.kinks)
            shift = shift - ROUNDING * (rows.bound.abs() + spent)
        return LinearBound(found.slope, found.shift + shift)

    def _turned(self, boxes: Boxes, share: Tensor) -> dict[int, Lines]:
        turned: dict[int, Lines] = {}
        for k in self.kinks:
            lower, upper = boxes.known[k.source]
            dense = torch.zeros_like(lower, dtype=share.dtype).index_copy(1, k.entries, share[:, k.part])
            bent = (lower < 0) & (upper > 0)
            turned[k.position] = relax_with(
                self.graph.nodes[k.position - 1], boxes.lines[k.position], bent, dense
            )
        return turned
