"""Branch and bound on the inputs: batches of boxes, bounded, combined, contracted, split.

Boxes are explored depth first, so that what is open stays small; a child inherits its parent's bounds
and only neurons that are still unstable are bounded again. One `round` is deterministic whatever the
number of threads: batches are taken from the stack in order, and what they leave is put back in order.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes, HalfSpace, LinearBound, pull_back
from repairsolver.bounds.gradient import smear
from repairsolver.bounds.tensors import TensorGraph
from repairsolver.bounds.tighten import root_boxes, tighten
from repairsolver.interrupts import held
from repairsolver.verification.conjunction import combine, contract
from repairsolver.verification.frontier import Open, State, merge
from repairsolver.verification.kept import Nodes, halved, leaves
from repairsolver.verification.query import Queries
from repairsolver.verification.record import Mark, Record, Splits, whole_weights
from repairsolver.verification.ties import suspects, unprovable

# Boxes narrower than this share of their query's box in every input are left to exact methods.
NARROWEST = 2.0**-40
# Boxes of less than this share of their query's volume may well be empty, which stable neurons tell, too.
THIN = 2.0**-20
# Bytes of one block of rows at most, so that deadlines are seen in between.
BLOCK = 1e8


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What bounding one batch left: children to examine, and the most suspicious points seen.

    The children below the split values come first, then, in the same order, those above. `number` says
    which boxes were bounded, `weights` with which whole weights of their rows, `nodes` what is kept of them.
    """

    children: Open
    splits: Splits
    narrow: Open
    points: Tensor
    point_query: Tensor
    point_slack: Tensor
    weights: Tensor | None
    number: Tensor
    least_proved: float
    nodes: Nodes | None = None

    @property
    def examined(self) -> int:
        return len(self.number)


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
        keep: float = 0.0,
    ):
        """With `record`, what is proved rests only on what the record holds.

        Args:
            keep: bytes of nodes that are kept for the next question, which takes a record.
        """
        self.graph, self.queries = graph, found
        self.threads, self.limit, self.memory = threads, memory / 4, memory / max(1, threads)
        roots = root_boxes(graph, found.lower, found.upper)
        bound = found.lower.new_full((len(found),), -torch.inf)
        index = torch.arange(len(found), device=found.lower.device)
        whole = HalfSpace(torch.zeros_like(found.lower), torch.zeros_like(bound))
        stack = Open(roots.lower, roots.upper, index, roots.known, whole, bound, index)
        kept = Record(len(found)) if record else None
        self.state = State(found, (stack,), record=kept, mark=kept.mark() if kept else Mark())
        self._block = min(BLOCK, self.memory / 8)
        self.batch = max(1, min(batch, int(self.memory / 4 // _work_bytes(graph, found))))
        self._span = (found.upper - found.lower).clamp(min=torch.finfo(found.lower.dtype).tiny)
        self._flat = found.upper <= found.lower
        self.nodes: list[Nodes] = []
        self._keep, self._kept, self.slack = keep, 0, 0.0
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    @property
    def done(self) -> bool:
        """Whether nothing is left to examine (narrow boxes may be left to exact methods)."""
        return not self.state.stack

    def remaining(self) -> Open | None:
        """All boxes that are not proved."""
        parts = self.state.parts
        return merge(parts) if parts else None

    def round(self, until: float = math.inf, *, drop: bool = False) -> list[Step]:
        """Take up to one batch a thread from the stack, examine them, and put back what is left.

        The state changes at the end and at once: an exception before leaves it as it was. Ctrl-C waits
        until the threads have come back.

        Args:
            until: when `time.monotonic()` has passed this, neurons keep the bounds that they have.
            drop: give up the whole round then, which leaves the state as it was.
        """
        stack = list(self.state.stack)
        most = self._affordable()
        batches = [_take(stack, most) for _ in range(self.threads) if stack]
        examine = partial(self._examine, until=until, drop=drop)
        if self._pool is None:
            found = list(map(examine, batches))
        else:
            with held():
                found = list(self._pool.map(examine, batches))
        steps = [step for step in found if step is not None]
        if len(steps) < len(batches):
            return []
        self._adopt(stack, steps)
        return steps

    def _affordable(self) -> int:
        """Boxes of a batch: fewer when the stack fills its share of memory, so that the search goes deep."""
        free = 1 - self.state.bytes / self.limit
        return max(1, int(self.batch * min(1.0, 2 * free)))

    def _adopt(self, stack: list[Open], steps: list[Step]) -> None:
        old, record = self.state, self.state.record
        narrow, examined, least = list(old.narrow), old.examined, old.least_proved
        for step in steps:
            examined += step.examined
            least = min(least, step.least_proved)
            if record is not None and step.weights is not None:
                record.weights.append((step.number, step.weights))
            first = 0 if record is None else record.boxes
            if len(step.children):
                stack.append(_numbered(step, record))
            if step.nodes is not None:
                self.keep(halved(step.nodes, step.splits, first))
            if len(step.narrow):
                narrow.append(step.narrow)
        mark = old.mark if record is None else record.mark()
        self.state = replace(
            old, stack=tuple(stack), narrow=tuple(narrow), examined=examined, least_proved=least, mark=mark
        )

    def keep(self, nodes: Nodes) -> None:
        """Keep nodes for the next question while there is room."""
        if self._kept + nodes.bytes <= self._keep:
            self._kept += nodes.bytes
            self.nodes.append(nodes)

    def examine_roots(self, until: float = math.inf) -> None:
        """Examine every query's whole box once; what is not proved stays open, unsplit.

        Queries of the same box share the bounds of its neurons.

        Args:
            until: when `time.monotonic()` has passed this, boxes stay open with the bounds they have.
        """
        whole = merge(list(self.state.stack))
        corners = torch.cat([whole.lower, whole.upper], dim=1)
        _, box = torch.unique(corners, dim=0, return_inverse=True)
        steps = [self._root(whole, box == number, until) for number in box.unique().tolist()]
        self._adopt([], steps)

    def _root(self, whole: Open, chosen: Tensor, until: float) -> Step:
        """Some queries of one box; what is left counts as narrow."""
        part = whole[chosen.nonzero()[:, 0]]
        first = part[slice(0, 1)]
        boxes = Boxes(first.lower, first.upper, dict(first.known))
        tighten(self.graph, boxes, memory=self._block, until=until)
        shared = {
            k: (low.expand_as(part.known[k][0]), high.expand_as(part.known[k][1]))
            for k, (low, high) in boxes.known.items()
        }
        left, least, weights, _ = self._survivors(part, Boxes(part.lower, part.upper, shared))
        none, points = left[slice(0, 0)], left.lower
        splits = Splits(none.number, none.query, none.bound)
        return Step(none, splits, left, points, left.query, left.bound, weights, part.number, least)

    def _examine(self, part: Open, until: float, drop: bool) -> Step | None:
        recorded = self.state.record is not None
        boxes = Boxes(part.lower, part.upper, dict(part.known), part.cut, recorded=recorded)
        tighten(self.graph, boxes, memory=self._block, until=until, further=self.doubtful(part))
        if drop and time.monotonic() > until:
            return None
        return self.step(part, boxes)

    def step(self, part: Open, boxes: Boxes) -> Step:
        """Close, contract and split boxes whose neurons are bounded."""
        left, least, weights, nodes = self._survivors(part, boxes)
        points, measured, tied = suspects(self.graph, self.queries, left)
        tied = tied | self.unprovable(left, points, measured)
        children, narrow, splits = self._split(left, tied)
        return Step(
            children, splits, narrow, points, left.query, measured, weights, part.number, least, nodes
        )

    def unprovable(self, left: Open, points: Tensor, measured: Tensor) -> Tensor:
        """Boxes that no proof for every float32 execution covers, see `ties`; none in real arithmetic."""

        def prove(boxes: Boxes, query: Tensor) -> Tensor:
            return self._bound(boxes, query)[1]

        return unprovable(self.graph, self.queries, left, points, measured, prove)

    def take_back(self, stack: list[Open], steps: list[Step]) -> None:
        """Go on with these boxes instead of those that are open, and with what such steps left of others."""
        self.state = replace(self.state, stack=())
        self._adopt(stack, steps)

    def doubtful(self, part: Open) -> dict[int, Tensor] | None:
        """Neurons that may tell that a box is empty: of thin ones, where the middle is not within bounds.

        Bounds hold for the points that matter alone; if there are none, they may be those of another
        phase. Were such a box split for ever, its middle would differ from them in all its parts.
        """
        share = torch.where(self._flat[part.query], 1.0, (part.upper - part.lower) / self._span[part.query])
        thin = (share.prod(dim=1) < THIN).nonzero()[:, 0]
        if not len(thin):
            return None
        values = self.graph.values((part.lower[thin] + part.upper[thin]) / 2)
        found = {}
        for k, (low, high) in part.known.items():
            outside = (values[k] < low[thin]) | (values[k] > high[thin])
            found[k] = torch.zeros_like(low, dtype=torch.bool).index_copy(0, thin, outside)
        return found

    def _survivors(self, part: Open, boxes: Boxes) -> tuple[Open, float, Tensor | None, Nodes | None]:
        """The boxes not proved, contracted; the least bound of those that were; weights; what is kept."""
        bound, best, row, weights = self._bound(boxes, part.query)
        cut = self._loosened(row)
        lower, upper = contract(bound, part.lower, part.upper)
        # Stated so that a NaN (weights that overflow) leaves a box open: it must never count as proved.
        alive = ~((best > self.slack) | (lower > upper).any(dim=1))
        # Bounds of an empty part are no guide: without this it would be split for ever.
        if boxes.empty is not None:
            alive &= ~boxes.empty
        left = Open(lower, upper, part.query, boxes.known, cut, best.clamp(max=0), part.number)
        left = left[alive.nonzero()[:, 0]]
        # What contraction cuts off is positive, by as little as may be.
        shrunk = ((lower > part.lower) | (upper < part.upper)).any(dim=1) & alive
        proved = torch.where(shrunk, torch.zeros_like(best), best)[shrunk | ~alive]
        least = float(proved.min().clamp(min=0)) if len(proved) else float("inf")
        if not self._keep or weights is None:
            return left, least, weights, None
        seen = replace(part, known=boxes.known, bound=best.clamp(max=0))
        return left, least, weights, leaves(seen, weights, cut, row, boxes.empty)

    def _bound(self, boxes: Boxes, query: Tensor) -> tuple[LinearBound, Tensor, HalfSpace, Tensor | None]:
        """Linear bounds of every row and of their best combination, which becomes the children's cut.

        The parent's cut takes part as a row that must be at most 0 like all others. The weights of the
        combination are whole numbers where the proof is recorded.
        """
        asked, whole = self.queries, None
        output, inputs, constant = asked.output[query], asked.input[query], asked.bound[query]
        rows = self._pull(boxes, output, inputs, constant)
        best, weights = combine(rows, boxes.lower, boxes.upper)
        if self.state.record is not None:
            whole = whole_weights(weights)
            weights = whole.to(weights.dtype) / whole.sum(dim=1, keepdim=True)
            best = torch.full_like(best, -torch.inf)
        single = self.weighted(boxes, query, weights) if output.shape[1] > 1 else rows
        best = torch.maximum(best, single.minimum(boxes.lower, boxes.upper, boxes.cut)[:, 0])
        row = HalfSpace(single.slope[:, 0], single.shift[:, 0])
        # What is kept must hang on cuts alone, which the next question can confirm with one row a node.
        used = [] if self._keep else [rows, single]
        slopes, shifts = [u.slope for u in used], [u.shift for u in used]
        for cut in (self._loosened(row), boxes.cut) if self._keep else (boxes.cut,):
            if cut is not None:
                slopes.append(cut.slope.unsqueeze(1))
                shifts.append(cut.shift.unsqueeze(1))
        return LinearBound(torch.cat(slopes, 1), torch.cat(shifts, 1)), best, row, whole

    def _loosened(self, row: HalfSpace) -> HalfSpace:
        """The children's cut for a row that is at most 0 at every violation."""
        return HalfSpace(row.slope, row.shift - self.slack)

    def weighted(self, boxes: Boxes, query: Tensor, weights: Tensor) -> LinearBound:
        """A linear bound of the rows' sum with weights [b, r]: one row for each box."""
        asked, mixed = self.queries, weights.unsqueeze(1)
        constant = (mixed @ asked.bound[query].unsqueeze(2)).squeeze(2)
        return self._pull(boxes, mixed @ asked.output[query], mixed @ asked.input[query], constant)

    def _pull(self, boxes: Boxes, output: Tensor, inputs: Tensor, constant: Tensor) -> LinearBound:
        bound = pull_back(self.graph, boxes, {len(self.graph.nodes): output, 0: inputs})
        return LinearBound(bound.slope, bound.shift - constant)

    def _split(self, left: Open, tied: Tensor) -> tuple[Open, Open, Splits]:
        """Halve every box along the input with the largest smear; narrow and tied ones are set aside."""
        if not len(left):
            return left, left, Splits(left.number, left.query, left.bound)
        score = smear(self.graph, Boxes(left.lower, left.upper, left.known), self.queries.output[left.query])
        width = left.upper - left.lower
        axis = torch.where(score.amax(dim=1) > 0, score.argmax(dim=1), width.argmax(dim=1)).unsqueeze(1)
        narrow = tied | ((width / self._span[left.query]).amax(dim=1) < NARROWEST)
        middle = ((left.lower + left.upper) / 2).gather(1, axis)
        wide = left[(~narrow).nonzero()[:, 0]]
        keep = (~narrow).nonzero()[:, 0]
        first = replace(wide, upper=left.upper.scatter(1, axis, middle)[keep])
        second = replace(wide, lower=left.lower.scatter(1, axis, middle)[keep])
        splits = Splits(wide.number, axis[keep, 0], middle[keep, 0])
        return merge([first, second]), left[narrow.nonzero()[:, 0]], splits


def _take(stack: list[Open], most: int) -> Open:
    """The last boxes of a stack, removed from it."""
    parts = [stack.pop()]
    count = len(parts[0])
    while stack and count + len(stack[-1]) <= most:
        parts.append(stack.pop())
        count += len(parts[-1])
    whole = merge(parts)
    if len(whole) > most:
        # Copied: a slice would keep all of them in memory.
        stack.append(whole[torch.arange(most, len(whole), device=whole.query.device)])
        whole = whole[slice(0, most)]
    return whole


def _numbered(step: Step, record: Record | None) -> Open:
    """The children with their numbers in the record."""
    if record is None:
        return step.children
    first = record.split(step.splits)
    number = torch.arange(first, first + len(step.children), device=step.children.number.device)
    return replace(step.children, number=number)


def _work_bytes(graph: TensorGraph, found: Queries) -> float:
    """What bounding one box holds at its peak: bounds and lines of every neuron, and some rows."""
    sizes = [graph.size(position) for position in range(len(graph.nodes) + 1)]
    return 8.0 * (16 * sum(sizes) + 6 * (found.bound.shape[1] + 1) * max(sizes))
