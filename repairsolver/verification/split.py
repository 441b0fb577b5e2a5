"""Branch and bound on the inputs: batches of boxes, bounded, combined, contracted, split.

Boxes are explored depth first, so that what is open stays small; a child inherits its parent's bounds
and only neurons that are still unstable are bounded again. One `round` is deterministic whatever the
number of threads: batches are taken from the stack in order, and what they leave is put back in order.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes, HalfSpace, LinearBound, pull_back
from repairsolver.bounds.gradient import smear
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.verification.conjunction import combine, contract
from repairsolver.verification.query import Queries, slack
from repairsolver.verification.record import Record, Splits, whole_weights

# Boxes narrower than this share of their query's box in every input are left to exact methods.
NARROWEST = 2.0**-40


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """Boxes that are not proved yet.

    Args:
        lower, upper: [b, n].
        query: which query each belongs to, [b].
        known: pre-activation bounds inherited from the parents, by position.
        cut: a violation in the box can only lie in this half-space.
        bound: proved lower bound of max_r g_r over each box (at most 0), [b].
        number: of the box in the record of the proof, [b].
    """

    lower: Tensor
    upper: Tensor
    query: Tensor
    known: dict[int, tuple[Tensor, Tensor]]
    cut: HalfSpace
    bound: Tensor
    number: Tensor

    def __len__(self) -> int:
        return len(self.lower)

    def __getitem__(self, index: slice | Tensor) -> Open:
        known = {k: (low[index], high[index]) for k, (low, high) in self.known.items()}
        cut = HalfSpace(self.cut.slope[index], self.cut.shift[index])
        lower, upper, query = self.lower[index], self.upper[index], self.query[index]
        return Open(lower, upper, query, known, cut, self.bound[index], self.number[index])


def merge(parts: list[Open]) -> Open:
    """All boxes of several parts, in order."""
    if len(parts) == 1:
        return parts[0]
    known = {
        k: (torch.cat([p.known[k][0] for p in parts]), torch.cat([p.known[k][1] for p in parts]))
        for k in parts[0].known
    }
    columns = ("lower", "upper", "query", "bound", "number")
    lower, upper, query, bound, number = (torch.cat([getattr(p, name) for p in parts]) for name in columns)
    cut = HalfSpace(torch.cat([p.cut.slope for p in parts]), torch.cat([p.cut.shift for p in parts]))
    return Open(lower, upper, query, known, cut, bound, number)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What bounding one batch left: children to examine, and the most suspicious points seen.

    The children below the split values come first, then, in the same order, those above.
    """

    children: Open
    splits: Splits
    narrow: Open
    points: Tensor
    point_query: Tensor
    point_slack: Tensor
    examined: int
    least_proved: float


class InputSplitting:
    """A search over boxes that can be advanced round by round and asked for its state at any time."""

    def __init__(
        self,
        graph: TensorGraph,
        found: Queries,
        *,
        batch: int,
        threads: int = 1,
        memory: float = 4e9,
        record: bool = False,
    ):
        """With `record`, what is proved rests only on what the record holds."""
        self.graph, self.queries = graph, found
        self.batch, self.threads, self.memory = batch, threads, memory / max(1, threads)
        roots = root_boxes(graph, found.lower, found.upper)
        bound = found.lower.new_full((len(found),), -torch.inf)
        index = torch.arange(len(found), device=found.lower.device)
        whole = HalfSpace(torch.zeros_like(found.lower), torch.zeros_like(bound))
        self.stack = [Open(roots.lower, roots.upper, index, roots.known, whole, bound, index)]
        self.record = Record(len(found)) if record else None
        self.narrow: list[Open] = []
        self.examined = 0
        self.least_proved = float("inf")
        self._span = (found.upper - found.lower).clamp(min=torch.finfo(found.lower.dtype).tiny)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    @property
    def done(self) -> bool:
        """Whether nothing is left to examine (narrow boxes may be left to exact methods)."""
        return not self.stack

    def open_volume(self) -> float:
        """The share of the queries' volume that is not proved, 0 to 1."""
        total = 0.0
        for part in [*self.stack, *self.narrow]:
            share = torch.where(
                self._flat[part.query], 1.0, (part.upper - part.lower) / self._span[part.query]
            )
            total += float(share.prod(dim=1).sum())
        return min(1.0, total / len(self.queries))

    @property
    def _flat(self) -> Tensor:
        return self.queries.upper <= self.queries.lower

    def best_bound(self) -> float:
        """The least proved bound among open boxes; infinite when none is open."""
        bounds = [float(part.bound.min()) for part in [*self.stack, *self.narrow] if len(part)]
        return min(bounds, default=float("inf"))

    def remaining(self) -> Open | None:
        """All boxes that are not proved."""
        parts = [part for part in [*self.stack, *self.narrow] if len(part)]
        return merge(parts) if parts else None

    def round(self) -> list[Step]:
        """Take up to one batch a thread from the stack, examine them, and put back what is left."""
        batches = [self._take() for _ in range(self.threads) if self.stack]
        steps = (
            list(self._pool.map(self._examine, batches)) if self._pool else list(map(self._examine, batches))
        )
        for step in steps:
            self.examined += step.examined
            self.least_proved = min(self.least_proved, step.least_proved)
            if len(step.children):
                self.stack.append(self._numbered(step))
            if len(step.narrow):
                self.narrow.append(step.narrow)
        return steps

    def _numbered(self, step: Step) -> Open:
        """The children with their numbers in the record."""
        if self.record is None:
            return step.children
        first = self.record.split(step.splits)
        number = torch.arange(first, first + len(step.children), device=step.children.number.device)
        return replace(step.children, number=number)

    def examine_roots(self, until: float = math.inf) -> None:
        """Examine every query's whole box once; what is not proved stays open, unsplit.

        Queries of the same box share the bounds of its neurons.

        Args:
            until: when `time.monotonic()` has passed this, boxes stay open with the bounds they have.
        """
        whole = merge(self.stack)
        corners = torch.cat([whole.lower, whole.upper], dim=1)
        _, box = torch.unique(corners, dim=0, return_inverse=True)
        for number in box.unique().tolist():
            queries = (box == number).nonzero()[:, 0]
            first = whole[queries[:1]]
            boxes = Boxes(first.lower, first.upper, dict(first.known))
            tighten(self.graph, boxes, memory=self.memory / 4, until=until)
            part = whole[queries]
            shared = {
                k: (low.expand_as(part.known[k][0]), high.expand_as(part.known[k][1]))
                for k, (low, high) in boxes.known.items()
            }
            left, least = self._survivors(part, Boxes(part.lower, part.upper, shared))
            self.examined += len(part)
            self.least_proved = min(self.least_proved, least)
            self.narrow += [left] if len(left) else []
        self.stack = []

    def _take(self) -> Open:
        parts, count = [self.stack.pop()], 0
        count = len(parts[0])
        while self.stack and count + len(self.stack[-1]) <= self.batch:
            parts.append(self.stack.pop())
            count += len(parts[-1])
        whole = merge(parts)
        if len(whole) > self.batch:
            self.stack.append(whole[slice(self.batch, None)])
            whole = whole[slice(0, self.batch)]
        return whole

    def _examine(self, part: Open) -> Step:
        left, least = self._alive(part)
        points = (left.lower + left.upper) / 2
        measured = slack(self.queries, left.query, points, self.graph.forward(points))
        children, narrow, splits = self._split(left)
        return Step(children, splits, narrow, points, left.query, measured, len(part), least)

    def _alive(self, part: Open) -> tuple[Open, float]:
        """The boxes that could not be proved, contracted, and the least bound of those that were."""
        boxes = Boxes(part.lower, part.upper, dict(part.known), part.cut)
        tighten(self.graph, boxes, memory=self.memory / 4)
        return self._survivors(part, boxes)

    def _survivors(self, part: Open, boxes: Boxes) -> tuple[Open, float]:
        bound, best, cut = self._bound(boxes, part.query, part.number)
        lower, upper = contract(bound, part.lower, part.upper)
        # Stated so that a NaN (weights that overflow) leaves a box open: it must never count as proved.
        alive = ~((best > 0) | (lower > upper).any(dim=1))
        left = Open(lower, upper, part.query, boxes.known, cut, best.clamp(max=0), part.number)
        left = left[alive.nonzero()[:, 0]]
        proved = best[~alive]
        return left, float(proved.min().clamp(min=0)) if len(proved) else float("inf")

    def _bound(self, boxes: Boxes, query: Tensor, number: Tensor) -> tuple[LinearBound, Tensor, HalfSpace]:
        """Linear bounds of every row and of their best combination, which is the children's cut.

        The parent's cut takes part as a row that must be at most 0 like all others.
        """
        asked = self.queries
        output, inputs, constant = asked.output[query], asked.input[query], asked.bound[query]
        rows = self._pull(boxes, output, inputs, constant)
        best, weights = combine(rows, boxes.lower, boxes.upper)
        if self.record is not None:
            whole = whole_weights(weights)
            self.record.weights.append((number, whole))
            weights = whole.to(weights.dtype) / whole.sum(dim=1, keepdim=True)
            best = torch.full_like(best, -torch.inf)
        single = rows
        if output.shape[1] > 1:
            mixed = weights.unsqueeze(1)
            single = self._pull(
                boxes, mixed @ output, mixed @ inputs, (mixed @ constant.unsqueeze(2)).squeeze(2)
            )
        best = torch.maximum(best, single.minimum(boxes.lower, boxes.upper, boxes.cut)[:, 0])
        cut = boxes.cut
        slopes, shifts = [rows.slope, single.slope], [rows.shift, single.shift]
        if cut is not None:
            slopes.append(cut.slope.unsqueeze(1))
            shifts.append(cut.shift.unsqueeze(1))
        both = LinearBound(torch.cat(slopes, 1), torch.cat(shifts, 1))
        return both, best, HalfSpace(single.slope[:, 0], single.shift[:, 0])

    def _pull(self, boxes: Boxes, output: Tensor, inputs: Tensor, constant: Tensor) -> LinearBound:
        bound = pull_back(self.graph, boxes, {len(self.graph.nodes): output, 0: inputs})
        return LinearBound(bound.slope, bound.shift - constant)

    def _split(self, left: Open) -> tuple[Open, Open, Splits]:
        """Halve every box along the input with the largest smear; narrow ones are set aside."""
        if not len(left):
            return left, left, Splits(left.number, left.query, left.bound)
        score = smear(self.graph, Boxes(left.lower, left.upper, left.known), self.queries.output[left.query])
        width = left.upper - left.lower
        axis = torch.where(score.amax(dim=1) > 0, score.argmax(dim=1), width.argmax(dim=1)).unsqueeze(1)
        narrow = (width / self._span[left.query]).amax(dim=1) < NARROWEST
        middle = ((left.lower + left.upper) / 2).gather(1, axis)
        wide = left[(~narrow).nonzero()[:, 0]]
        keep = (~narrow).nonzero()[:, 0]
        first = replace(wide, upper=left.upper.scatter(1, axis, middle)[keep])
        second = replace(wide, lower=left.lower.scatter(1, axis, middle)[keep])
        splits = Splits(wide.number, axis[keep, 0], middle[keep, 0])
        return merge([first, second]), left[narrow.nonzero()[:, 0]], splits
