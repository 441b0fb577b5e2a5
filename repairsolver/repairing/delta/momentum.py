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

STEPS, RATE, SAMPLED, GROWTH = 1500, 0.015, 400, 7e6
"""Steps where the time suffices; their length, as a share of the root mean square of a layer's entries; of
points that are not repaired, so many take part in one, half of them samples; the growth of the penalty in all
steps, if rows lack their sign until the end."""

SHARE = 0.6
"""Of the time that is left."""

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
        best: the least behaviour with which every row has its sign; None if there was none.
        weight: of the penalty in the end.
    """

    last: State
    best: State | None
    weight: float


def descended(merit: Merit, weight: float, seed: int) -> Reached:
    """Take the steps, from no change at all.

    Args:
        weight: of the penalty at first.
    """
    rng = np.random.default_rng([seed, 3])
    steps = Steps(np.zeros(merit.layer.size), RATE * sizes(merit))
    repaired = merit.repaired
    kinds = parted(merit, repaired)
    deadline, started = merit.problem.deadline, time.perf_counter()
    number, count, best = 0, STEPS, None
    state = merit.state(steps.delta)
    while number < count and (deadline is None or time.perf_counter() < deadline):
        rows = np.concatenate([repaired, drawn(rng, kinds, SAMPLED)])
        steps.take(merit.gradient(steps.delta, weight, rows), pace(number, count))
        steps.delta, number = merit.within(steps.delta), number + 1
        if number % CHECK == 0 or number == count:
            state = merit.state(steps.delta)
            if state.missing > 0:
                weight *= GROWTH ** (CHECK / count)
            elif best is None or state.behaviour < best.behaviour:
                best = state
        if number == FEWEST:
            count = affordable(STEPS, number, started, deadline, SHARE)
    return Reached(state, best, weight)


def pace(number: int, count: int) -> float:
    """The length of a step, as a share of the full one."""
    return max(SHORTEST, min(1.0, (1 - number / count) / (1 - LONG)))


def affordable(most: int, number: int, started: float, deadline: float | None, share: float) -> int:
    """How many steps this share of the time left suffices for, after so many since the start."""
    if deadline is None:
        return most
    now = time.perf_counter()
    return min(most, max(2 * FEWEST, int(share * (deadline - now) * number / (now - started))))


def parted(merit: Merit, left_out: Ids) -> tuple[Ids, Ids]:
    """Samples, and other inputs."""
    samples = np.setdiff1d(merit.samples, left_out)
    return samples, np.setdiff1d(np.arange(len(merit.inputs)), np.concatenate([samples, left_out]))


def drawn(rng: np.random.Generator, kinds: tuple[Ids, Ids], count: int) -> Ids:
    """So many points, half of them of each kind if there are enough, so that neither is rare."""
    first = min(len(kinds[0]), max(count // 2, count - len(kinds[1])))
    sizes = first, min(len(kinds[1]), count - first)
    parts = [rng.choice(kind, size, replace=False) for kind, size in zip(kinds, sizes, strict=True)]
    return np.concatenate(parts)


@dataclass(slots=True, eq=False)
class Steps:
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


def sizes(merit: Merit) -> Array:
    """The root mean square of the stored entries of each layer, [unknowns]."""
    stored = merit.layer.gathered({p.source.tensor: p.stored for p in merit.layer.parameters})
    parts = merit.layer.parts(stored)
    return np.concatenate([np.full(len(p), float(np.sqrt((p**2).mean())) or 1.0) for p in parts])
