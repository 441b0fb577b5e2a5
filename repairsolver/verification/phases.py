"""Branch and bound on the phases of activations: for inputs that are too many to be split.

A part of a query's box is given by the sides of kinks that it lies on. Batches of parts are split at
one more kink each, their slopes and multipliers are optimised together from where the parent left
them, and the float64 bound decides. The worst parts come first, depth first; everything is
deterministic but for the moment at which time is up.

Source: Wang et al. 2021 (beta-CROWN); Bunel et al. 2020 and De Palma et al. 2021 (filtered smart
branching) for the choice of the kink.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from repairsolver.bounds.backward import ROUNDING, Boxes
from repairsolver.bounds.constrained import ConstrainedBox, Functionals, Part, find_kinks
from repairsolver.bounds.refreshing import refreshing
from repairsolver.bounds.slopes import Parameter, RowSlopes, climb, least_value
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.network import operators as ops
from repairsolver.verification.branching import estimates, first_multipliers
from repairsolver.verification.query import Queries, slack

# Gradient steps for a whole box, and for the children of a split.
ROOT_STEPS, CHILD_STEPS = 40, 25
# First steps of slopes, of multipliers (relative to the rows they join), of the weights of rows.
SHARE_RATE, BETA_RATE, MIX_RATE = 0.1, 0.3, 0.2
# Kinks whose children are bounded before one is chosen.
CANDIDATES = 6
# The part of a kink's cost through later bounds that splitting it is expected to save.
SHARED = 1.0
# Parts with at most so many kinks left go to the exact program.
FEW = 4
MOST_PARTS = 128
# Multiply-adds of a round, and of bounding the neurons of one part anew, on a processor; the devices'
# speed relative to one.
WORK, REFRESH = 1e10, 3e8
SPEED = {"cuda": 100.0}


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Parts of a box that are not proved yet.

    Args:
        query: which query each belongs to, [b].
        sign: side of every kink, 0 for both, [b, all kinks], int8.
        lower, upper: bounds of every kink's pre-activation, on its side, [b, all kinks], float64.
        share, beta: slopes and scaled multipliers found so far, [b, all kinks], float32.
        mix: logarithms of the weights of a conjunction's rows, [b, r], float32.
        bound: proved lower bound, [b], float64.
        weight: share of the query, halved by every split, [b], float64.
    """

    query: Tensor
    sign: Tensor
    lower: Tensor
    upper: Tensor
    share: Tensor
    beta: Tensor
    mix: Tensor
    bound: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, index: slice | Tensor) -> Parts:
        return Parts(*(getattr(self, item.name)[index] for item in fields(self)))


def joined(parts: list[Parts]) -> Parts:
    """All parts in order."""
    if len(parts) == 1:
        return parts[0]
    return Parts(*(torch.cat([getattr(p, item.name) for p in parts]) for item in fields(Parts)))


@dataclass(frozen=True, slots=True, eq=False)
class Suspects:
    """Where the relaxations of open parts are least: candidates for counterexamples, [b, n], [b], [b]."""

    points: Tensor
    query: Tensor
    slack: Tensor


class PhaseSplitting:
    """A search over the phases of one box, advanced round by round; its state can be asked at any time.

    Args:
        graph, fast: the network in float64, which proves, and in float32, which guides.
        boxes: the box (b = 1) with bounds of every pre-activation.
        found: all queries.
        chosen: those of this box that are to be proved, [q].
        slopes: of the neurons' bounds on the box, with which they are bounded anew on parts.
        memory: bytes for everything.
        steps: gradient steps for children.
    """

    def __init__(
        self,
        graph: TensorGraph,
        fast: TensorGraph,
        boxes: Boxes,
        found: Queries,
        chosen: Tensor,
        *,
        slopes: dict[int, list[RowSlopes]] | None = None,
        memory: float = 4e9,
        steps: int = CHILD_STEPS,
    ) -> None:
        self.queries, self.steps, self.memory = found, steps, memory
        kinks = find_kinks(graph, boxes.known)
        self.exact, self.fast = ConstrainedBox(graph, boxes, kinks), ConstrainedBox(fast, boxes, kinks)
        self.scale = torch.ones(1, self.exact.total, dtype=fast.dtype, device=fast.device)
        speed, work = SPEED.get(graph.device.type, 1.0), _work(graph)
        self.refreshing = refreshing(self.exact, slopes or {}, rows=REFRESH * speed / work)
        self.thresholds = self.exact.thresholds() if kinks else self.scale.new_zeros(0)
        self.examined, self.least_proved = 0, math.inf
        self.leaves: list[Parts] = []
        row_cost = 6 * steps + 4 * self.refreshing.rows
        self.batch = _batch_size(graph, self.exact.total, memory, speed * WORK / (work * row_cost))
        self.stack = [self._roots(chosen)]
        self._queries = len(chosen)

    @property
    def done(self) -> bool:
        """Whether nothing is left to split (leaves may be left to exact methods)."""
        return not self.stack

    def open_share(self) -> float:
        """The share of the search tree that is not proved, 0 to 1, every split halving its part."""
        total = sum(float(part.weight.sum()) for part in [*self.stack, *self.leaves])
        return min(1.0, total / max(1, self._queries))

    def best_bound(self) -> float:
        """The least proved bound among open parts; infinite when none is open."""
        bounds = [float(part.bound.min()) for part in [*self.stack, *self.leaves] if len(part)]
        return min(bounds, default=math.inf)

    def remaining(self) -> Parts | None:
        """All parts that are not proved."""
        parts = [part for part in [*self.stack, *self.leaves] if len(part)]
        return joined(parts) if parts else None

    def start(self, until: float = math.inf) -> Suspects:
        """Optimise the bounds of the whole box, before any split."""
        self._measure_rows(self.stack[0])
        return self._settle(self.stack.pop(), ROOT_STEPS, until)

    def round(self, until: float = math.inf) -> Suspects:
        """Split one batch of parts and keep the children that could not be proved."""
        children = self._refreshed(*self._branch(self._take()), until)
        return self._settle(children, self.steps, until)

    def _roots(self, chosen: Tensor) -> Parts:
        count, kinks = len(chosen), self.exact.total
        none = chosen.new_zeros(1, 0, dtype=torch.float64)
        lower, upper = self.exact.ranges() if kinks else (none, none)
        shares = self.fast.first_shares() if kinks else self.scale
        return Parts(
            chosen,
            torch.zeros(count, kinks, dtype=torch.int8, device=chosen.device),
            lower.expand(count, -1).clone(),
            upper.expand(count, -1).clone(),
            shares.expand(count, -1).clone(),
            torch.zeros_like(shares).expand(count, -1).clone(),
            shares.new_zeros(count, self.queries.bound.shape[1]),
            torch.full((count,), -torch.inf, dtype=torch.float64, device=chosen.device),
            torch.ones(count, dtype=torch.float64, device=chosen.device),
        )

    @torch.no_grad()
    def _measure_rows(self, parts: Parts) -> None:
        """Scale the multipliers of each activation by the mean size of the rows that they join."""
        seen: dict[int, Tensor] = {}
        sign = parts.sign.to(self.scale.dtype)
        rows, boxes = self._rows(parts, parts.mix, self.fast), self._fast_part(parts)
        self.fast.bound(boxes, rows, parts.share, sign, parts.beta, guide=True, seen=seen)
        for k in self.fast.kinks:
            if k.position in seen:
                self.scale[:, k.part] = seen[k.position][..., k.entries].abs().mean().clamp(min=1e-6)

    def _take(self) -> Parts:
        """The worst parts, fewer of them when memory runs short: then the search goes straight down."""
        held = sum(len(part) for part in self.stack) * (25 * self.exact.total + 64)
        count = self.batch if held < self.memory / 4 else max(1, self.batch // 32)
        parts, taken = [], 0
        while self.stack and taken < count:
            parts.append(self.stack.pop())
            taken += len(parts[-1])
        whole = joined(parts)
        if len(whole) > count:
            self.stack.append(whole[slice(count, None)])
        return whole[slice(0, count)]

    def _settle(self, parts: Parts, steps: int, until: float) -> Suspects:
        """Optimise, prove, and put what is left on the stack, the worst first."""
        parts = self._optimised(parts, steps, until)
        parts, points = self._proved(parts)
        self.examined += len(parts)
        # A bound that is no number loses against the parent's, and leaves its part open.
        alive = ~(parts.bound > 0)
        if bool((~alive).any()):
            self.least_proved = min(self.least_proved, float(parts.bound[~alive].min()))
        left, points = parts[alive.nonzero()[:, 0]], points[alive.nonzero()[:, 0]]
        measured = slack(self.queries, left.query, points, self.exact.graph.forward(points))
        suspects = Suspects(points, left.query, measured)
        few = self._free(left).sum(dim=1) <= FEW
        if bool(few.any()):
            self.leaves.append(left[few.nonzero()[:, 0]])
            left = left[(~few).nonzero()[:, 0]]
        if len(left):
            self.stack.append(left[left.bound.argsort(stable=True)])
        return suspects

    def _free(self, parts: Parts) -> Tensor:
        """Which kinks still lie inside their bounds, [b, all kinks] of bool."""
        return (parts.lower < self.thresholds) & (parts.upper > self.thresholds)

    def _refreshed(self, parts: Parts, kink: Tensor, until: float) -> Parts:
        """Neurons behind the kink of the last split bounded anew; parts that turn out empty are proved."""
        lower, upper = self.refreshing.refresh(parts.lower, parts.upper, kink, until=until)
        empty = (lower > upper).any(dim=1)
        self.examined += int(empty.sum())
        return replace(parts, lower=lower, upper=upper)[(~empty).nonzero()[:, 0]]

    def _fast_part(self, parts: Parts) -> Part:
        narrow = self.fast.graph.dtype
        return self.fast.part(parts.lower.to(narrow), parts.upper.to(narrow))

    def _rows(self, parts: Parts, mix: Tensor, box: ConstrainedBox) -> Functionals:
        """The weighted sum of each part's rows."""
        weights = torch.softmax(mix, dim=1).unsqueeze(1)
        output, inputs, bound = (
            getattr(self.queries, name)[parts.query].to(box.graph.dtype)
            for name in ("output", "input", "bound")
        )
        return Functionals(weights @ output, weights @ inputs, (weights @ bound.unsqueeze(2))[:, :, 0])

    def _optimised(self, parts: Parts, steps: int, until: float) -> Parts:
        sign, boxes = parts.sign.to(self.fast.graph.dtype), self._fast_part(parts)
        fixed = self._rows(parts, parts.mix, self.fast) if parts.mix.shape[1] == 1 else None

        def value(leaves: list[Tensor]) -> Tensor:
            share, beta, mix = leaves
            rows = fixed or self._rows(parts, mix, self.fast)
            bound = self.fast.bound(boxes, rows, share, sign, self.scale * beta, guide=True)
            return least_value(bound, boxes.lower, boxes.upper)[:, 0]

        starts = [
            Parameter(parts.share, SHARE_RATE, 0.0, 1.0),
            Parameter(parts.beta, BETA_RATE, 0.0),
            Parameter(parts.mix, MIX_RATE),
        ]
        (share, beta, mix), _ = climb(value, starts, steps, enough=1e-4, until=until)
        return replace(parts, share=share, beta=beta, mix=mix)

    def _proved(self, parts: Parts) -> tuple[Parts, Tensor]:
        """The float64 bounds of parts, and the points where their linear bounds are least."""
        exact, wide = self.exact, self.exact.graph.dtype
        sign, boxes = parts.sign.to(wide), exact.part(parts.lower, parts.upper)
        share, beta = parts.share.to(wide).clamp(0, 1), (self.scale * parts.beta).to(wide).clamp(min=0)
        mix = parts.mix.to(wide)
        bound = exact.bound(boxes, self._rows(parts, mix, exact), share, sign, beta)
        least = bound.minimum(boxes.lower, boxes.upper)[:, 0] - self._mixing(parts, mix)
        points = torch.where(bound.slope[:, 0] > 0, boxes.lower, boxes.upper)
        return replace(parts, bound=torch.fmax(least, parts.bound)), points

    def _mixing(self, parts: Parts, mix: Tensor) -> Tensor:
        """The rounding of a weighted sum of rows, which may cancel."""
        if mix.shape[1] == 1:
            return torch.zeros_like(parts.bound)
        asked, magnitude = self.queries, self.exact.root.magnitude
        reach = (asked.output[parts.query].abs() @ magnitude[-1][0]) + asked.bound[parts.query].abs()
        reach = reach + asked.input[parts.query].abs() @ magnitude[0][0]
        return ROUNDING * (torch.softmax(mix, dim=1) * reach).sum(dim=1)

    @torch.no_grad()
    def _branch(self, parts: Parts) -> tuple[Parts, Tensor]:
        """Both children of every part, split at the kink that promises most, and that kink for each."""
        sign, boxes = parts.sign.to(self.fast.graph.dtype), self._fast_part(parts)
        seen: dict[int, Tensor] = {}
        rows, beta = self._rows(parts, parts.mix, self.fast), self.scale * parts.beta
        self.fast.bound(boxes, rows, parts.share, sign, beta, guide=True, seen=seen)
        score = estimates(self.fast, boxes, seen, parts.share)
        multipliers = [side / self.scale for side in first_multipliers(self.fast, seen, parts.share)]
        through = self._through_later_bounds(parts)
        score = score + through
        score = torch.where(self._free(parts), score, -1.0)
        ranked = score.topk(min(CANDIDATES, score.shape[1]), dim=1)
        gains = []
        for c in range(ranked.indices.shape[1]):
            kink = ranked.indices[:, c : c + 1]
            gains.append(self._gain(parts, multipliers, kink, SHARED * through.gather(1, kink)[:, 0]))
        gain = torch.stack(gains)
        gain = torch.where(ranked.values.T >= 0, gain, -torch.inf)
        chosen = ranked.indices.gather(1, gain.argmax(dim=0).unsqueeze(1))
        sides = zip((1, -1), multipliers, strict=True)
        halves = [self._side(parts, chosen, side, multiplier) for side, multiplier in sides]
        children = joined([replace(half, weight=parts.weight / 2) for half in halves])
        return children, chosen[:, 0].repeat(2)

    def _side(self, parts: Parts, kink: Tensor, side: int, multiplier: Tensor) -> Parts:
        """The parts on one side of a kink each, [b, 1], with a first multiplier for it."""
        threshold = self.thresholds[kink]
        lower, upper = parts.lower.gather(1, kink), parts.upper.gather(1, kink)
        if side > 0:
            lower = torch.maximum(lower, threshold)
        else:
            upper = torch.minimum(upper, threshold)
        return replace(
            parts,
            sign=parts.sign.scatter(1, kink, side),
            lower=parts.lower.scatter(1, kink, lower),
            upper=parts.upper.scatter(1, kink, upper),
            beta=parts.beta.scatter(1, kink, multiplier.gather(1, kink)),
        )

    def _through_later_bounds(self, parts: Parts) -> Tensor:
        """What every kink costs through the bounds of neurons behind it, [b, all kinks]."""
        if not self.refreshing.slopes:
            return torch.zeros_like(parts.share)
        narrow, sign = self.scale.dtype, parts.sign.to(self.scale.dtype)
        with torch.enable_grad():
            lower, upper = (t.to(narrow).requires_grad_(True) for t in (parts.lower, parts.upper))
            boxes, rows = self.fast.part(lower, upper), self._rows(parts, parts.mix, self.fast)
            bound = self.fast.bound(boxes, rows, parts.share, sign, self.scale * parts.beta, guide=True)
            value = least_value(bound, boxes.lower, boxes.upper).sum()
            gradients = torch.autograd.grad(value, (lower, upper), materialize_grads=True)
        return self.refreshing.passed_on(gradients[0].clamp(min=0), (-gradients[1]).clamp(min=0))

    def _gain(self, parts: Parts, multipliers: list[Tensor], kink: Tensor, more: Tensor) -> Tensor:
        """How far splitting at a kink [b, 1] lifts the bounds of both children, as a product, [b]."""
        rows, before = self._rows(parts, parts.mix, self.fast), parts.bound.to(self.scale.dtype)
        lifts = []
        for side, multiplier in zip((1, -1), multipliers, strict=True):
            half = self._side(parts, kink, side, multiplier)
            sign, boxes = half.sign.to(self.scale.dtype), self._fast_part(half)
            bound = self.fast.bound(boxes, rows, parts.share, sign, self.scale * half.beta, guide=True)
            value = least_value(bound, boxes.lower, boxes.upper)[:, 0] + more
            lifts.append((value.clamp(max=0) - before).clamp(min=1e-6))
        return lifts[0] * lifts[1]


def _work(graph: TensorGraph) -> int:
    """Multiply-adds that pulling one row back through the network takes."""
    work = 1
    for node in graph.nodes:
        if isinstance(node.operator, ops.Dense | ops.Conv):
            work += node.parameters["weight"].numel() * (node.size // len(node.parameters["bias"]))
    return work


def _batch_size(graph: TensorGraph, kinks: int, memory: float, affordable: float) -> int:
    """Parts that are split at once, by the work and the memory that their children take."""
    entries = graph.input_size + sum(node.size for node in graph.nodes)
    held = 4 * (48 * entries + 32 * kinks)
    most = MOST_PARTS if graph.device.type == "cpu" else 32 * MOST_PARTS
    return int(min(most, max(1, affordable), max(1, memory / 4 // held)))
