r"""Layers trained on points that are preferred to be right, and then mended.

Gradient steps lower the sum of `distillation` in the coordinates of `decorrelated`. Every fifth point is
held out of them, and the change is taken, of any damping, with which the sum at these is least, of those
that repair most points: what a layer learns by heart helps no other point. Preferred points that are
versions of points to keep, listed in their order and version after version, are held out together with
them. What is not repaired then is mended by the least change from there.

Source: Prechelt, Early stopping - but when?, in: Neural networks: tricks of the trade, 1998.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from repairsolver.repairing.delta.branching import Optimum
from repairsolver.repairing.delta.decorrelated import Decorrelated
from repairsolver.repairing.delta.distillation import FIRST, Distillation, anchored
from repairsolver.repairing.delta.gauss_newton import mended
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.merit import Ids, Merit
from repairsolver.repairing.delta.momentum import CHECK, FEWEST, Steps, affordable, drawn, pace, parted
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.squared_moves import SquaredMoves
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus

MANY = 1500
"""Preferred points, beyond which models of the least change, that hold as many rows, cannot see them all."""

STEPS, RATE, SAMPLED, GROWTH = 2000, 1.0, 800, 50.0
"""As in `momentum`, with lengths in units of the coordinates."""

PATIENCE = 500
"""Steps without success, after which no others follow."""

DAMPINGS = (1.0, 0.1, 0.01)
"""Of the coordinates: layers that read noise would learn it by heart with the small ones."""

SHARE = 0.7
"""Of the time that is left."""

FOLDS = 5
"""One of them is held out."""


@dataclass(frozen=True, slots=True, eq=False)
class _Learnt:
    """A change; how many points to repair are wrong with it, and the sum at points held out; and steps."""

    delta: Array
    score: tuple[float, float] = (np.inf, np.inf)
    steps: int = 0


def many_preferred(problem: LeastChange) -> bool:
    """Whether there are more of them than models of the least change can see."""
    groups = problem.requirements.groups.values()
    return sum(len(group.slack) for group in groups if group.preferred) > MANY


def distilled(problem: LeastChange, layer: HiddenLayers, *, shared: bool) -> Optimum | None:
    """A change that meets every requirement, with bound 0; None if training and mending find none.

    Args:
        shared: see `least_moved`.
    """
    measure = problem.objective.squares
    assert isinstance(measure, SquaredMoves)
    lesson = Distillation(problem, layer, measure, shared)
    learnt = _learnt(lesson)
    merit = Merit(problem, layer, measure, shared)
    state = merit.state(learnt.delta)
    if state.missing > 0:
        better = mended(anchored(merit, learnt.delta), learnt.delta)
        state = state if better is None else merit.state(better.delta)
    if state.missing > 0:
        return None
    return Optimum(SolutionStatus.FEASIBLE, state.delta, problem.cost(state.delta), 0.0, {}, learnt.steps)


def _learnt(lesson: Distillation) -> _Learnt:
    """The best change of all dampings."""
    held = np.flatnonzero(held_out(lesson))
    best, taken = _Learnt(np.zeros(lesson.layer.size)), 0
    for number, damping in enumerate(DAMPINGS):
        found = _stepped(lesson, held, damping, SHARE / (len(DAMPINGS) - number))
        taken += found.steps
        best = found if found.score < best.score else best
    return replace(best, steps=taken)


def _stepped(lesson: Distillation, held: Ids, damping: float, share: float) -> _Learnt:
    """The change with the least sum at held-out points, of those that repair most.

    Args:
        held: the inputs held out.
        share: of the time that is left.
    """
    coordinates, repaired = Decorrelated.of(lesson, damping), lesson.repaired
    steps = Steps(np.zeros(lesson.layer.size), RATE * coordinates.units)
    judged = np.concatenate([repaired, held])
    kinds, rng = parted(lesson, judged), np.random.default_rng([lesson.problem.seed, 3])
    deadline, started = lesson.problem.deadline, time.perf_counter()
    weight, number, count = FIRST / max(len(repaired), 1), 0, STEPS
    delta = np.zeros(lesson.layer.size)
    best = _Learnt(delta)
    while number < min(count, best.steps + PATIENCE) and (deadline is None or time.perf_counter() < deadline):
        rows = np.concatenate([repaired, drawn(rng, kinds, SAMPLED)])
        steps.take(coordinates.gradient(lesson.gradient(delta, weight, rows)), pace(number, count))
        delta, number = lesson.within(coordinates.back(steps.delta)), number + 1
        if number % CHECK == 0 or number == count:
            moved = lesson.moved(delta, judged)
            wrong = lesson.wrong(moved, judged)
            weight *= GROWTH ** (CHECK / count) if wrong else 1.0
            if (score := (wrong, lesson.loss(moved, judged))) < best.score:
                best = _Learnt(delta, score, number)
        if number == FEWEST:
            count = affordable(STEPS, number, started, deadline, share)
    return replace(best, steps=number)


def held_out(lesson: Distillation) -> NDArray[np.bool_]:
    """Which inputs are held out, [p]."""
    held = np.zeros(len(lesson.inputs), dtype=bool)
    held[lesson.samples[FOLDS - 1 :: FOLDS]] = True
    groups = lesson.problem.requirements.groups
    kept = {group.beats: len(group.slack) for group in groups.values() if group.kept}
    for name, group in groups.items():
        count = kept.get(group.beats, 0)
        index = np.arange(len(group.slack))
        index = index % count if count and len(index) % count == 0 else index
        held[lesson.places[name]] = index % FOLDS == FOLDS - 1
    held[lesson.repaired] = False
    return held
