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
from dataclasses import dataclass, field

import torch
from torch import Tensor

from repairsolver.bounds.backward import ROUNDING, Boxes, LinearBound, extend_magnitudes, pull_back
from repairsolver.bounds.interval import Interval
from repairsolver.bounds.relaxation import Lines, relax
from repairsolver.bounds.slopes import cast
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.bounds.tighten import image, pre_activations
from repairsolver.bounds.turning import Turn, first_share, turning
from repairsolver.network import operators as ops

# Smooth activations with narrower bounds are not split.
NARROW = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Kinks:
    """Values inside their bounds at which the entries of one activation may be split.

    Args:
        position, source: of the activation, and of its pre-activation.
        entries: which entries, [u].
        threshold: the kink of each, or a point of a smooth activation, [u], float64.
        first: where these kinks begin among all kinks of the network.
    """

    position: int
    source: int
    entries: Tensor
    threshold: Tensor
    first: int

    @property
    def part(self) -> slice:
        return slice(self.first, self.first + len(self.entries))


def find_kinks(graph: TensorGraph, known: dict[int, Interval]) -> tuple[Kinks, ...]:
    """All kinks inside the bounds of one box [1, size]; one point for smooth activations."""
    found: list[Kinks] = []
    for position, source in pre_activations(graph):
        lower, upper = (side[0] for side in known[source])
        for threshold in _thresholds(graph.nodes[position - 1].operator, lower, upper):
            entries = ((lower < threshold) & (upper > threshold)).nonzero()[:, 0]
            if len(entries):
                first = found[-1].part.stop if found else 0
                found.append(Kinks(position, source, entries, threshold[entries].double(), first))
    return tuple(found)


def _thresholds(operator: ops.Operator, lower: Tensor, upper: Tensor) -> tuple[Tensor, ...]:
    """Values [size] at which entries bend, or beyond their bounds where one should not be split."""
    if isinstance(operator, ops.Relu | ops.LeakyRelu):
        return (torch.zeros_like(lower),)
    if isinstance(operator, ops.Clip):
        values = dict.fromkeys(t for t in (operator.lower, operator.upper) if math.isfinite(t))
        return tuple(torch.full_like(lower, t) for t in values)
    if isinstance(operator, ops.Sigmoid | ops.Tanh | ops.Curve):
        # The point of inflection or where a curve bends, unless it lies at the border.
        quarter = (upper - lower) / 4
        inside = torch.minimum(torch.maximum(lower + quarter, torch.zeros_like(lower)), upper - quarter)
        return (torch.where(4 * quarter > NARROW, inside, upper),)
    return ()


@dataclass(slots=True, eq=False)
class Part(Boxes):
    """Parts of a box, with the lines of every activation as a function of its shares."""

    turns: dict[int, Turn] = field(default_factory=dict)


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
        return torch.cat([k.threshold for k in self.kinks])

    def part(self, lower: Tensor, upper: Tensor) -> Part:
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
        boxes = Part(self.root.lower, self.root.upper, known, magnitude=self.root.magnitude)
        for position, source in pre_activations(self.graph):
            node = self.graph.nodes[position - 1]
            if not isinstance(node.operator, ops.MaxPool):
                boxes.lines[position] = relax(node, *known[source])
                boxes.turns[position] = turning(node, *known[source], boxes.lines[position])
        return boxes

    def first_shares(self) -> Tensor:
        """Slopes to start from, [1, all kinks]."""
        nodes = [self.graph.nodes[k.position - 1] for k in self.kinks]
        sides = [self._at(self.root.known[k.source], k) for k in self.kinks]
        return torch.cat([first_share(n, *side) for n, side in zip(nodes, sides, strict=True)], dim=1)

    def bound(
        self,
        boxes: Part,
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
            shift = shift - (push @ k.threshold.to(push.dtype)).unsqueeze(1)
        lines = dict(boxes.lines) | self.turned(boxes, share)
        used = Boxes(boxes.lower, boxes.upper, boxes.known, None, lines, boxes.magnitude)
        found = pull_back(self.graph, used, start, guide=guide, seen=seen)
        if not guide:
            spent = sum((pull[:, k.part].abs() @ k.threshold.abs()).unsqueeze(1) for k in self.kinks)
            shift = shift - ROUNDING * (rows.bound.abs() + spent)
        return LinearBound(found.slope, found.shift + shift)

    def turned(self, boxes: Part, share: Tensor) -> dict[int, Lines]:
        """The lines for given shares, by the position of the activation."""
        turned: dict[int, Lines] = {}
        for k in self.kinks:
            blank = share.new_zeros(len(share), self.graph.size(k.source))
            dense = blank.index_copy(1, k.entries, share[:, k.part])
            turned[k.position] = boxes.turns[k.position](dense)
        return turned
