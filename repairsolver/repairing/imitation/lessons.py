r"""What is learnt from: batches of points, and the loss at them.

With outputs y, the behaviours y* to imitate, the scale \(\sigma\) of outputs, the margin \(\mu\), and the
violation g of every conjunction (or label), the loss of a batch is the mean of

$$ \lVert (y - y^*) / \sigma \rVert^2 + [g(x, y) + \mu]_+ / \mu \;\text{ at negatives,} \qquad
   \lVert (y - y^*) / \sigma \rVert^2 + \sum_j [\min(\mu, m_j) - m_j(y)]_+ / \mu
   \;\text{ at points to keep,} $$

with \(m_j\) the margin of the decision to output j, and \(\mu\) no larger than it was. Half of every batch
are points that were judged wrong, or almost wrong, at the last look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repairsolver.decision import SIDES, SIGN
from repairsolver.repairing.imitation.behaviour import Behaviours, Ids
from repairsolver.results import Array
from repairsolver.verification.query import Queries, queries, slack

BATCH = 512
"""Negatives of a batch at most, and points to keep."""

FEW = 64
"""Negatives of a batch at least."""

MARGIN_SHARE = 0.1
"""Mu, as a share of the median margin of the decisions to keep (or of the spread of outputs)."""


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """All points as tensors, with the behaviours to imitate.

    Args:
        inputs, targets: negatives first, then positives, then the domain.
        wrong: how many negatives there are.
        pair, query: for unlabelled negatives: which negative must not violate which conjunction.
        choice: the decisions of every target, [b, 1 or 2].
        margin: mu.
        scale: sigma.
    """

    behaviours: Behaviours
    inputs: Tensor
    targets: Tensor
    wrong: int
    asked: Queries | None
    pair: Ids
    query: Ids
    choice: Tensor
    margin: float
    scale: float

    def batch(self, rng: np.random.Generator, focus: tuple[Ids, Ids]) -> tuple[Ids, Ids]:
        """Indices of negatives and of points to keep, half of them out of those in focus."""
        total = len(self.inputs)
        return (
            _drawn(rng, 0, self.wrong, focus[0], min(BATCH, max(FEW, self.wrong))),
            _drawn(rng, self.wrong, total, focus[1], BATCH),
        )

    def loss(self, outputs: Tensor, negatives: Ids, kept: Ids) -> Tensor:
        """Of outputs [b, m] at a batch."""
        index = torch.from_numpy(np.concatenate([negatives, kept]))
        away = ((outputs - self.targets[index]) / self.scale).square().mean()
        count = len(negatives)
        total = away + self._violation(outputs[:count], negatives)
        if outputs.shape[1] > 1 and len(kept):
            total = total + self._losing(outputs[count:], index[count:])
        return total

    def _violation(self, outputs: Tensor, negatives: Ids) -> Tensor:
        """The mean hinge of what negatives still do wrong."""
        if self.asked is None:
            choice = self.choice[torch.from_numpy(negatives)]
            short = torch.relu(self.margin - self._margins(outputs, choice))
            return short.sum(dim=1).mean() / self.margin
        first = np.searchsorted(self.pair, negatives)
        count = np.searchsorted(self.pair, negatives, side="right") - first
        place = np.repeat(np.arange(len(negatives)), count)
        which = np.repeat(first, count) + np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
        at, points = torch.from_numpy(place), self.inputs[torch.from_numpy(negatives[place])]
        worst = slack(self.asked, torch.from_numpy(self.query[which]), points, outputs[at])
        return torch.relu(worst + self.margin).sum() / (self.margin * len(negatives))

    def _losing(self, outputs: Tensor, index: Tensor) -> Tensor:
        choice = self.choice[index]
        had = self._margins(self.targets[index], choice).clamp(max=self.margin)
        return torch.relu(had - self._margins(outputs, choice)).sum(dim=1).mean() / self.margin

    def _margins(self, outputs: Tensor, choice: Tensor) -> Tensor:
        """By how much each decision beats every other output, [b, m or 2 m]; large for itself."""
        parts = []
        for column, side in enumerate(SIDES[self.behaviours.decision]):
            chosen = choice[:, column : column + 1]
            gap = SIGN[side] * (outputs.gather(1, chosen) - outputs)
            parts.append(gap.scatter(1, chosen, 1e30))
        return torch.cat(parts, dim=1)

    def focus(self, outputs: Array) -> tuple[Ids, Ids, int, int]:
        """Points (almost) wrong at outputs [b, m] of all: negatives, kept ones; and how many are wrong."""
        lack = self.behaviours.lack(outputs[: self.wrong])
        after = torch.from_numpy(outputs[self.wrong :])
        if outputs.shape[1] > 1 and len(after):
            targets, choice = self.targets[self.wrong :].double(), self.choice[self.wrong :]
            had, has = self._margins(targets, choice).amin(dim=1), self._margins(after, choice).amin(dim=1)
            near = has < torch.clamp(had, max=self.margin) - 1e-9
            lost = int((has < torch.clamp(had, max=0.0)).sum())
            close = np.flatnonzero(near.numpy()) + self.wrong
        else:
            close, lost = np.zeros(0, dtype=np.int64), 0
        return np.flatnonzero(lack > -self.margin), close, int((lack >= 0).sum()), lost


def lessons(behaviours: Behaviours, targets: Array, kept: Array) -> Lessons:
    """What is learnt from behaviours.

    Args:
        targets: of the negatives, [k, m].
        kept: outputs at positives and domain, [p + d, m].
    """
    prop, count = behaviours.prop, len(behaviours.negatives)
    everything = np.concatenate([targets, kept])
    choice = behaviours.decided(everything)
    if behaviours.labels is not None:
        choice[:count] = behaviours.labels[:, None]
    spread = float(everything.std(axis=0).mean()) or 1.0
    margin = MARGIN_SHARE * _median_margin(kept if len(kept) else targets, spread)
    asked = queries(prop, "cpu", torch.float32) if behaviours.labels is None else None
    pair, query = _pairs(behaviours)
    inputs = np.concatenate([behaviours.negatives, behaviours.kept])
    return Lessons(
        behaviours,
        torch.tensor(inputs, dtype=torch.float32),
        torch.tensor(everything, dtype=torch.float32),
        count,
        asked,
        pair,
        query,
        torch.from_numpy(choice),
        margin,
        spread,
    )


def _median_margin(outputs: Array, spread: float) -> float:
    """Between the best and the second best output."""
    if outputs.shape[1] == 1:
        return spread
    ordered = np.sort(outputs, axis=1)
    gap = np.minimum(ordered[:, -1] - ordered[:, -2], ordered[:, 1] - ordered[:, 0])
    return float(np.median(gap)) or 1e-3 * spread


def _pairs(behaviours: Behaviours) -> tuple[Ids, Ids]:
    """Every unlabelled negative with the conjunctions of the regions that hold it, by negative."""
    rows, query, first = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], 0
    for region in behaviours.prop.regions if behaviours.labels is None else ():
        inside = np.flatnonzero(region.contains(behaviours.negatives))
        for offset in range(len(region.unsafe)):
            rows.append(inside)
            query.append(np.full(len(inside), first + offset))
        first += len(region.unsafe)
    pair, which = np.concatenate(rows), np.concatenate(query)
    order = pair.argsort(kind="stable")
    return pair[order], which[order]


def _drawn(rng: np.random.Generator, start: int, end: int, focus: Ids, count: int) -> Ids:
    if start == end:
        return np.zeros(0, dtype=np.int64)
    anywhere = rng.integers(start, end, size=count)
    if len(focus):
        anywhere[: count // 2] = focus[rng.integers(len(focus), size=count // 2)]
    return anywhere
