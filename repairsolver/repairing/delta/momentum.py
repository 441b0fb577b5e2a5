r"""Many cheap steps where models of second order do not reach: stochastic gradients with momentum.

In deep layers the rectifiers behind a change switch after tiny steps, so that affine models promise what they
do not keep. Averages of gradients over many steps see across such kinks. The penalty grows as long as rows
lack their sign; in the second half the steps shrink.

Source: Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, algorithm 1.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from repairsolver.repairing.delta.merit import Ids, Merit, State
from repairsolver.results import Array

FEWEST = 150
"""Steps, even where the time does not suffice for all."""


@dataclass(frozen=True, slots=True)
class Course:
    """How far the steps go.

    Args:
        steps: where the time suffices.
        rate: of a step, as a share of the root mean square of a layer's entries.
        sampled: of the points that are not repaired, so many take part in a step; half of them samples.
        growth: of the penalty in all `steps`, if rows lack their sign until the end.
        share: of the time that is left.
    """

    steps: int
    rate: float
    sampled: int
    growth: float
    share: float


NEAR, FAR = Course(1500, 0.015, 400, 7e6, 0.6), Course(5000, 0.05, 800, 50.0, 0.9)
"""For the least change that repairs points; and where others are preferred to be right, too."""

CHECK = 25
"""Steps between two evaluations at all points."""

LONG, SHORTEST = 0.5, 0.01
"""The share of the steps of full length; the length of the last one."""

FIRST, SECOND, TINY = 0.9, 0.999, 1e-12
"""Decay of the averages of gradients and of their squares; what keeps quotients finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """Where the steps led.

    Args:
        last: after the last step.
        best: the least of `Merit.value` with which every row has its sign; None if there was none.
        weight: of the penalty in the end.
    """

    last: State
    best: State | None
    weight: float


def descended(merit: Merit, weight: float, seed: int, course: Course = NEAR) -> Reached:
    """Take the steps, from no change at all.

    Args:
        weight: of the penalty at first.
    """
    rng = np.random.default_rng([seed, 3])
    steps = _Steps(np.zeros(merit.layer.size), course.rate * _sizes(merit))
    repaired = merit.repaired
    samples = np.setdiff1d(merit.samples, repaired)
    others = np.setdiff1d(np.arange(len(merit.inputs)), np.concatenate([samples, repaired]))
    deadline, started = merit.problem.deadline, time.perf_counter()
    number, count, best = 0, course.steps, None
    state = merit.state(steps.delta)
    while number < count and (deadline is None or time.perf_counter() < deadline):
        drawn = _drawn(rng, (samples, others), course.sampled)
        gradient = merit.gradient(steps.delta, weight, np.concatenate([repaired, drawn]))
        pace = max(SHORTEST, min(1.0, (1 - number / count) / (1 - LONG)))
        steps.take(gradient, pace)
        steps.delta, number = merit.within(steps.delta), number + 1
        if number % CHECK == 0 or number == count:
            state = merit.state(steps.delta)
            if state.missing > 0:
                weight *= course.growth ** (CHECK / count)
            elif best is None or merit.value(state) < merit.value(best):
                best = state
        if number == FEWEST and deadline is not None:
            now = time.perf_counter()
            affordable = int(course.share * (deadline - now) * number / (now - started))
            count = min(course.steps, max(2 * FEWEST, affordable))
    return Reached(state, best, weight)


def _drawn(rng: np.random.Generator, kinds: tuple[Ids, Ids], count: int) -> Ids:
    """So many points, half of them of each kind if there are enough, so that neither is rare."""
    first = min(len(kinds[0]), max(count // 2, count - len(kinds[1])))
    sizes = first, min(len(kinds[1]), count - first)
    parts = [rng.choice(kind, size, replace=False) for kind, size in zip(kinds, sizes, strict=True)]
    return np.concatenate(parts)


@dataclass(slots=True, eq=False)
class _Steps:
    """The averages of the source's algorithm, and where they led."""

    delta: Array
    length: Array
    mean: Array = field(init=False)
    square: Array = field(init=False)
    number: int = 0

    def __post_init__(self) -> None:
        self.mean, self.square = np.zeros_like(self.delta), np.zeros_like(self.delta)

    def take(self, gradient: Array, pace: float) -> None:
        """One step of this share of the full length."""
        self.number += 1
        self.mean = FIRST * self.mean + (1 - FIRST) * gradient
        self.square = SECOND * self.square + (1 - SECOND) * gradient**2
        root = np.sqrt(self.square / (1 - SECOND**self.number)) + TINY
        self.delta = self.delta - pace * self.length * self.mean / (1 - FIRST**self.number) / root


def _sizes(merit: Merit) -> Array:
    """The root mean square of the stored entries of each layer, [unknowns]."""
    stored = merit.layer.gathered({p.source.tensor: p.stored for p in merit.layer.parameters})
    parts = merit.layer.parts(stored)
    return np.concatenate([np.full(len(p), float(np.sqrt((p**2).mean())) or 1.0) for p in parts])
