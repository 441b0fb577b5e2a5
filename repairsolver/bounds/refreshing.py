"""Bounds of neurons on parts of a box, with the slopes that were best on the whole box."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from repairsolver.bounds.backward import Boxes, pull_back
from repairsolver.bounds.constrained import ConstrainedBox, Kinks
from repairsolver.bounds.slopes import RowSlopes
from repairsolver.bounds.tighten import unit_rounding, unit_rows

# Kinks that may be open in the widest part of a batch are bounded together: bytes of one block of rows.
BLOCK = 3e7


@dataclass(frozen=True, slots=True, eq=False)
class Refreshing:
    """Which kinks can be bounded anew on a part, and with which slopes.

    Args:
        box: in float64, its bounds prove.
        slopes: for kinks k of `box.kinks`, by their position in that list: shares [2 u, size] by the
            position of every activation before.
        losses: for the same kinks, what every kink before them costs their bounds on the whole box,
            [2 u, all kinks], float32.
    """

    box: ConstrainedBox
    slopes: dict[int, dict[int, Tensor]]
    losses: dict[int, Tensor]

    @property
    def rows(self) -> int:
        """How many rows bounding a part anew takes at most."""
        return 2 * sum(len(self.box.kinks[number].entries) for number in self.slopes)

    def passed_on(self, lower: Tensor, upper: Tensor) -> Tensor:
        """What every kink costs a value through bounds behind it, [b, all kinks].

        Args:
            lower, upper: what the value gains by unit tighter bounds of every kink, [b, all kinks].
        """
        total = torch.zeros_like(lower)
        for number, loss in self.losses.items():
            part = self.box.kinks[number].part
            total += torch.cat([lower[:, part], upper[:, part]], dim=1) @ loss
        return total

    def refresh(
        self, lower: Tensor, upper: Tensor, split: Tensor, *, until: float = math.inf
    ) -> tuple[Tensor, Tensor]:
        """Tighten the bounds of the kinks behind the last split of each part, front to back.

        Args:
            lower, upper: on the parts, [b, all kinks].
            split: the kink of the last split, [b].
            until: when `time.monotonic()` has passed this, the remaining bounds are kept as they are.

        Returns:
            Bounds that are nowhere looser; crossed (lower above upper) where a part is empty.
        """
        lower, upper = lower.clone(), upper.clone()
        for number, shares in self.slopes.items():
            k = self.box.kinks[number]
            before = [j.part.stop for j in self.box.kinks if j.position <= k.source]
            behind = (split < max(before, default=0)).nonzero()[:, 0]
            rows = 2 * len(k.entries) * max(self.box.graph.size(p) for p in shares)
            for some in behind.split(max(1, int(BLOCK / (8 * rows)))):
                if time.monotonic() > until:
                    return lower, upper
                low, high = self._one(k, shares, lower[some], upper[some])
                lower[some, k.part], upper[some, k.part] = low, high
        return lower, upper

    def _one(
        self, k: Kinks, shares: dict[int, Tensor], lower: Tensor, upper: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both bounds of one activation's kinks on each part, [b, u]; those of settled kinks are idle."""
        graph, count = self.box.graph, len(k.entries)
        # Empty parts have crossed bounds, between which there is no line: anything is true of them.
        whole = self.box.part(lower, torch.maximum(lower, upper))
        loose = (lower[:, k.part] < k.threshold) & (upper[:, k.part] > k.threshold)
        most = int(loose.sum(dim=1).max()) if len(loose) else 0
        if not most:
            return lower[:, k.part], upper[:, k.part]
        index = torch.argsort(loose.to(torch.int8), dim=1, descending=True, stable=True)[:, :most]
        both = torch.cat([index, index + count], dim=1)
        lines = dict(whole.lines) | {p: whole.turns[p](share[both]) for p, share in shares.items()}
        boxes = Boxes(whole.lower, whole.upper, whole.known, None, lines, whole.magnitude)
        entries = k.entries[index]
        rows, offset = unit_rows(graph, k.source, entries, graph.dtype)
        bound = pull_back(graph, boxes, {p: torch.cat([r, -r], dim=1) for p, r in rows.items()})
        least = bound.minimum(whole.lower, whole.upper)
        rounding = unit_rounding(graph, boxes, k.source, entries, (rows, offset))
        low, high = least[:, :most] + offset - rounding, -least[:, most:] + offset + rounding
        old_low, old_high = lower[:, k.part], upper[:, k.part]
        return (
            old_low.scatter(1, index, torch.fmax(low, old_low.gather(1, index))),
            old_high.scatter(1, index, torch.fmin(high, old_high.gather(1, index))),
        )


def refreshing(box: ConstrainedBox, slopes: dict[int, list[RowSlopes]], *, rows: float) -> Refreshing:
    """Pick the slopes of the kinks from those found on the whole box; kinks without any are left out.

    Args:
        rows: no kinks at all when they need more rows than this for a part.
    """
    found: dict[int, dict[int, Tensor]] = {}
    if 2 * sum(len(k.entries) for k in box.kinks if k.source in slopes) > rows:
        return Refreshing(box, found, {})
    for number, k in enumerate(box.kinks):
        blocks = slopes.get(k.source, [])
        if not blocks:
            continue
        entries = torch.cat([block.entries for block in blocks])
        place = {int(e): i for i, e in enumerate(entries)}
        if not all(int(e) in place for e in k.entries):
            continue
        chosen = torch.tensor([place[int(e)] for e in k.entries], device=entries.device)
        shares = {}
        for p in blocks[0].shares:
            sides = [torch.cat(side) for side in zip(*(b.shares[p].chunk(2) for b in blocks), strict=True)]
            shares[p] = torch.cat([side[chosen] for side in sides]).to(box.graph.dtype).clamp(0, 1)
        found[number] = shares
    losses = {number: _losses(box, box.kinks[number], shares) for number, shares in found.items()}
    return Refreshing(box, found, losses)


def _losses(box: ConstrainedBox, k: Kinks, shares: dict[int, Tensor]) -> Tensor:
    """What every kink before costs the bounds of some on the whole box, [2 u, all kinks]."""
    boxes = box.part(*box.ranges())
    lines = dict(boxes.lines) | {p: boxes.turns[p](share.unsqueeze(0)) for p, share in shares.items()}
    rows, _ = unit_rows(box.graph, k.source, k.entries.unsqueeze(0), box.graph.dtype)
    seen: dict[int, Tensor] = {}
    used = Boxes(boxes.lower, boxes.upper, boxes.known, None, lines)
    both = {p: torch.cat([r, -r], dim=1) for p, r in rows.items()}
    pull_back(box.graph, used, both, guide=True, seen=seen)
    total = torch.zeros(2 * len(k.entries), box.total, device=k.entries.device)
    for before in box.kinks:
        if before.position in seen and before.position in shares:
            low, high = (t[:, before.entries] for t in boxes.known[before.source])
            row, share = seen[before.position][0], shares[before.position]
            row, share = row[:, before.entries], share[:, before.entries]
            loss = line_losses(row, before.threshold - low, high - before.threshold, share)
            total[:, before.part] = loss.to(total.dtype)
    return total


def line_losses(row: Tensor, below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    r"""How much the two lines of a kink cost a row with coefficients $\nu$ behind it at most.

    $|\nu|$ times the distance of the upper line (where $\nu < 0$, else of the lower line) from the
    function at the kink or at the ends.

    Args:
        below, above: how far the bounds lie on both sides of the kink.
    """
    below, above = below.clamp(min=0), above.clamp(min=0)
    chord = below * above / (below + above).clamp(min=torch.finfo(below.dtype).tiny)
    touching = torch.minimum(share * below, (1 - share) * above)
    return row.clamp(max=0).abs() * chord + row.clamp(min=0) * touching
