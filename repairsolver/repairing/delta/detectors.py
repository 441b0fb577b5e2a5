r"""Linear functions that are positive all over some boxes, and negative at points that they must not touch.

A detector \(z(x) = w x + b\) of a box with middle m and radius r has its least value there at a corner,

$$ \underline z = w m + b - \lvert w \rvert r . $$

Every box needs one detector of its own target with \(\underline z \ge 1\); a detector is to stay below
\(-1\) at every point that its target harms, and not positive anywhere in the boxes of other targets. Boxes
of one target share detectors: each counts for the best, and the sum of what is missing is minimised by
gradient steps, all detectors at once.

Source: hinge losses after Cortes and Vapnik, Support-vector networks, 1995, with the worst case over a box
in closed form (Xu, Caramanis and Mannor, Robustness and regularization of support vector machines, 2009).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repairsolver.results import Array

STEPS, LEAST_STEPS, BATCH = 1200, 300, 1000
"""Gradient steps at most and at least, and the points that take part in one."""

GAP = 1.0
"""How far below 0 a detector is to stay at points that its target harms; boxes are to reach 1."""

HARM, CROSS, SIZE = 200.0, 0.3, 0.005
"""Weights: of harmed points (their mean), of boxes of other targets, of the squared length of detectors."""

RATE, RATE_BIAS = 0.25, 0.01
"""Of Adam: as a share of the root mean square of the first weights, and of the first biases."""

FAR = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What detectors are for.

    Args:
        middle, radius: of the boxes, [k, n].
        target: the target of every box, [k], counted from 0.
        points: [p, n].
        harmed: which points each target harms, [p, targets] of bool.
    """

    middle: Array
    radius: Array
    target: NDArray[np.int64]
    points: Array
    harmed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Detectors:
    """Detectors d with weights [d, n], biases [d] and targets [d]; `used` is the one of every box, [k]."""

    weight: Array
    bias: Array
    target: NDArray[np.int64]
    used: NDArray[np.int64]


def find_detectors(wanted: Wanted, count: int, *, seconds: float, seed: int) -> Detectors:
    """Up to `count` detectors, shared among the targets by their numbers of boxes, at least one for each.

    They are the best found; nothing is guaranteed about them.

    Args:
        seconds: no step begins after this time.
    """
    first, target = _first(wanted, count)
    search = _Search(wanted, first, target, seed)
    search.run(time.monotonic() + seconds)
    return search.found()


def _first(wanted: Wanted, count: int) -> tuple[Array, NDArray[np.int64]]:
    """Middles of boxes that lie far apart, [d, n], for every target, and their targets."""
    middles, owners = [], []
    boxes = np.bincount(wanted.target)
    for target, number in enumerate(boxes):
        own = wanted.middle[wanted.target == target]
        chosen = [0]
        distance = np.full(number, np.inf)
        for _ in range(min(number, max(1, count * number // len(wanted.middle))) - 1):
            distance = np.minimum(distance, np.square(own - own[chosen[-1]]).sum(axis=1))
            chosen.append(int(distance.argmax()))
        middles.append(own[chosen])
        owners += [target] * len(chosen)
    return np.concatenate(middles), np.array(owners, dtype=np.int64)


class _Search:
    """Weights and biases on their way."""

    def __init__(self, wanted: Wanted, first: Array, target: NDArray[np.int64], seed: int) -> None:
        self.middle, self.radius, self.points = (
            torch.tensor(part, dtype=torch.float32) for part in (wanted.middle, wanted.radius, wanted.points)
        )
        self.own = torch.tensor(wanted.target[:, None] == target[None])
        self.harmed = torch.tensor(wanted.harmed[:, target])
        self.target, self.generator = target, torch.Generator().manual_seed(seed)
        centre, mean = torch.tensor(first, dtype=torch.float32), self.points.mean(dim=0)
        apart = centre - mean
        length = apart.square().sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        # 1 at the box's middle, -1 at the mean of the points.
        self.weight = (2 * apart / length).requires_grad_()
        self.bias = (-(apart * (centre + mean)).sum(dim=1) / length[:, 0]).requires_grad_()
        self.length = (4 / length).sum() / len(first)

    def run(self, until: float) -> None:
        size, offset = (float(x.detach().square().mean().sqrt()) for x in (self.weight, self.bias))
        steps = torch.optim.Adam(
            [
                {"params": [self.weight], "lr": RATE * size},
                {"params": [self.bias], "lr": RATE_BIAS * max(offset, 1.0)},
            ]
        )
        cooling = torch.optim.lr_scheduler.CosineAnnealingLR(steps, STEPS)
        for number in range(STEPS):
            if time.monotonic() > until:
                return
            loss, right = self.loss()
            if right and number >= LEAST_STEPS:
                return
            steps.zero_grad()
            loss.backward()
            steps.step()
            cooling.step()

    def loss(self) -> tuple[Tensor, bool]:
        """What is missing, and whether every box is detected and nothing in it by another target's."""
        value, spread = self.middle @ self.weight.T + self.bias, self.radius @ self.weight.abs().T
        best = torch.where(self.own, value - spread, -FAR).amax(dim=1)
        cross = torch.where(self.own, -FAR, value + spread)
        chosen = torch.randint(len(self.points), (BATCH,), generator=self.generator)
        wrong = torch.relu(self.points[chosen] @ self.weight.T + self.bias + GAP) * self.harmed[chosen]
        length = SIZE * self.weight.square().sum() / self.length
        missing = torch.relu(1 - best).sum() + CROSS * torch.relu(cross).sum()
        right = bool((best >= 1).all()) and bool((cross <= 0).all()) and not bool((wrong > 0).any())
        return missing + HARM * wrong.sum(dim=1).mean() + length, right

    def found(self) -> Detectors:
        with torch.no_grad():
            low = self.middle @ self.weight.T + self.bias - self.radius @ self.weight.abs().T
            used = torch.where(self.own, low, -FAR).argmax(dim=1)
        weight, bias = (x.detach().numpy().astype(np.float64) for x in (self.weight, self.bias))
        return Detectors(weight, bias, self.target, used.numpy())
