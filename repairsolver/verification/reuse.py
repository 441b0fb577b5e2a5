"""Going through a kept tree with another question: what stays proved, what is searched on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from repairsolver.bounds.backward import ROUNDING, Boxes, HalfSpace, LinearBound
from repairsolver.bounds.tighten import tighten
from repairsolver.verification.conjunction import contract
from repairsolver.verification.frontier import Open, merge
from repairsolver.verification.kept import Nodes
from repairsolver.verification.record import Splits
from repairsolver.verification.split import InputSplitting, Step

CHUNK = 512
# Multiples of the new row that may imply the old cut; the weights being the same, it is near 1.
MULTIPLES = 1.0, 0.9, 1.1, 0.75, 1.35


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """Nodes of one depth: where they are in the tree, their new numbers, and bounds of edited layers."""

    index: Tensor
    number: Tensor
    fresh: dict[int, tuple[Tensor, Tensor]]

    def __getitem__(self, some: slice | Tensor) -> Level:
        fresh = {k: (low[some], high[some]) for k, (low, high) in self.fresh.items()}
        return Level(self.index[some], self.number[some], fresh)

    def chunks(self) -> Iterator[Level]:
        return (self[slice(k, k + CHUNK)] for k in range(0, len(self.index), CHUNK))


@dataclass(slots=True, eq=False)
class Walk:
    """A kept tree on its way into a new search.

    Args:
        nodes: of the tree.
        place: where the node of an old number is, -1 for one that was not kept.
        edited: bounds of tensors from this position on are computed anew.
    """

    search: InputSplitting
    nodes: Nodes
    place: Tensor
    edited: int
    opened: list[Open] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    stayed: int = 0

    def roots(self) -> Level:
        """The roots; those that were not kept are open."""
        whole = merge(list(self.search.state.stack))
        index = self.place[whole.number]
        if bool((index < 0).any()):
            self.opened.append(whole[(index < 0).nonzero()[:, 0]])
        found = (index >= 0).nonzero()[:, 0]
        fresh = {k: pair for k, pair in whole[found].known.items() if k >= self.edited}
        return Level(index[found], whole.number[found], fresh)

    def part(self, level: Level) -> tuple[Nodes, Open]:
        """Nodes of a level, and their boxes with new numbers and with bounds that are valid now."""
        nodes = self.nodes[level.index]
        known = nodes.boxes.known | level.fresh
        return nodes, replace(nodes.boxes, known=known, number=level.number)

    def judge(self, level: Level) -> list[Level]:
        """Close or open nodes again, and return the children of the others that were kept."""
        nodes, part = self.part(level)
        search = self.search
        boxes = Boxes(part.lower, part.upper, dict(part.known), part.cut, recorded=True)
        if level.fresh:
            tighten(search.graph, boxes, further=search.doubtful(part), only=level.fresh)
        weights = nodes.weights.to(part.lower.dtype)
        row = search.weighted(boxes, part.query, weights / weights.sum(dim=1, keepdim=True))
        best = row.minimum(part.lower, part.upper, part.cut)[:, 0]
        # Whether bounds behind an edited layer contradict each other has to be seen again.
        empty = boxes.empty if level.fresh else nodes.empty
        empty = torch.zeros_like(nodes.empty) if empty is None else empty
        closed = (best > 0) | empty
        inner = (nodes.axis >= 0) & ~closed & implied(row, nodes.own, part)
        known = replace(part, known=boxes.known, bound=best.clamp(max=0))
        nodes = replace(nodes, boxes=known, empty=empty)
        opened = (~closed & ~inner).nonzero()[:, 0]
        if len(opened):
            again = known[opened]
            bounded = Boxes(again.lower, again.upper, dict(again.known), again.cut, recorded=True)
            self.steps.append(search.step(again, bounded))
        self._close(nodes[closed.nonzero()[:, 0]])
        return self._descend(nodes[inner.nonzero()[:, 0]])

    def _close(self, nodes: Nodes) -> None:
        if len(nodes):
            none = torch.full_like(nodes.axis, -1)
            self._keep(replace(nodes, axis=none, child=torch.stack([none, none], dim=1)))

    def _keep(self, nodes: Nodes) -> None:
        record = self.search.state.record
        assert record is not None
        self.stayed += len(nodes)
        record.weights.append((nodes.boxes.number, nodes.weights))
        self.search.keep(nodes)

    def _descend(self, nodes: Nodes) -> list[Level]:
        """Number the halves as new ones; those that were not kept are open."""
        record = self.search.state.record
        assert record is not None
        count, old = len(nodes), torch.cat([nodes.child[:, 0], nodes.child[:, 1]])
        if not count:
            return []
        first = record.split(Splits(nodes.boxes.number, nodes.axis, nodes.value))
        number = first + torch.arange(2 * count, device=old.device)
        self._keep(replace(nodes, child=torch.stack([number[:count], number[count:]], dim=1)))
        index = torch.where(old < len(self.place), self.place[old.clamp(max=len(self.place) - 1)], -1)
        missing, found = (index < 0).nonzero()[:, 0], (index >= 0).nonzero()[:, 0]
        if len(missing):
            self.opened.append(replace(halves(nodes), number=number)[missing])
        twice = torch.cat([torch.arange(count, device=old.device)] * 2)[found]
        known = nodes.boxes.known
        fresh = {k: (low[twice], high[twice]) for k, (low, high) in known.items() if k >= self.edited}
        return [Level(index[found], number[found], fresh)] if len(found) else []


def implied(row: LinearBound, cut: HalfSpace, part: Open) -> Tensor:
    """Whether the points of boxes where a row is at most 0 lie in a half-space, [b] of bool."""
    old = LinearBound(cut.slope.unsqueeze(1), cut.shift.unsqueeze(1))
    found = (row.slope == old.slope).all(dim=2)[:, 0] & (row.shift >= old.shift)[:, 0]
    reach = torch.maximum(part.lower.abs(), part.upper.abs()).unsqueeze(2)
    for multiple in MULTIPLES:
        slope, shift = multiple * row.slope, multiple * row.shift
        # Both may be large and their difference small: the rounding is that of each.
        size = (slope.abs() + old.slope.abs()) @ reach
        lost = ROUNDING * (size[:, 0, 0] + shift[:, 0].abs() + old.shift[:, 0].abs())
        difference = LinearBound(slope - old.slope, shift - old.shift)
        found |= difference.minimum(part.lower, part.upper, part.cut)[:, 0] >= lost
    return found


def halves(nodes: Nodes) -> Open:
    """The halves of boxes, contracted by their cuts as the search has done it: first all lower ones."""
    boxes, own = nodes.boxes, nodes.own
    cuts = LinearBound(
        torch.stack([own.slope, boxes.cut.slope], dim=1), torch.stack([own.shift, boxes.cut.shift], dim=1)
    )
    lower, upper = contract(cuts, boxes.lower, boxes.upper)
    axis, value = nodes.axis.unsqueeze(1), nodes.value.unsqueeze(1)
    whole = replace(boxes, lower=lower, upper=upper, cut=own)
    first = replace(whole, upper=upper.scatter(1, axis, value))
    return merge([first, replace(whole, lower=lower.scatter(1, axis, value))])


def reuse(search: InputSplitting, nodes: Nodes, edited: int, until: float = math.inf) -> int:
    """Put a new search where a kept tree leaves it; returns how many nodes stay as they are.

    Args:
        edited: the position of the first layer that differs.
        until: when `time.monotonic()` has passed this, the nodes left are open boxes.
    """
    numbers = nodes.boxes.number
    place = torch.full((int(numbers.max()) + 1,), -1, dtype=torch.int64, device=numbers.device)
    place[numbers] = torch.arange(len(numbers), device=numbers.device)
    roots = len(search.queries)
    place = torch.cat([place, place.new_full((max(0, roots - len(place)),), -1)])
    walk = Walk(search, nodes, place, edited)
    levels = [walk.roots()]
    while levels:
        some = [part for level in levels for part in level.chunks()]
        levels = []
        for part in some:
            if time.monotonic() > until:
                walk.opened.append(walk.part(part)[1])
            else:
                levels += walk.judge(part)
        levels = [_together(levels)] if levels else []
    search.take_back(walk.opened, walk.steps)
    return walk.stayed


def _together(levels: list[Level]) -> Level:
    fresh = {
        k: (torch.cat([x.fresh[k][0] for x in levels]), torch.cat([x.fresh[k][1] for x in levels]))
        for k in levels[0].fresh
    }
    return Level(torch.cat([x.index for x in levels]), torch.cat([x.number for x in levels]), fresh)
