"""The least change of behaviour in squares: exactly where it is a least norm, else by Gauss-Newton steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from repairsolver.repairing.delta.branching import Optimum, optimise
from repairsolver.repairing.delta.distilled import distilled, many_preferred
from repairsolver.repairing.delta.gauss_newton import least_moved
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.layer import EditableLayer
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.program import LeastChange
from repairsolver.repairing.delta.requirements import Group, Requirements
from repairsolver.repairing.delta.squared_moves import SquaredMoves
from repairsolver.repairing.delta.whitened import Coordinates, Turned
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus

MOST_SOFT = 2000
"""Soft points, beyond which exact programs leave preferred ones out: active sets grow row by row."""

EXACT = 0.5
"""The share of the time for exact programs, which thousands of soft points make slow."""


def least_behaviour(
    problem: LeastChange, *, shared: bool, known: float, start: Callable[[], Array | None]
) -> Optimum:
    """The change that meets all requirements and moves behaviour least.

    Args:
        shared, known: see `branching.optimise`.
        start: finds some change that meets all requirements, where steps from no change do not.

    Returns:
        The optimum and its bound for a layer with a linear tail without limits of single entries, if the time
        suffices and soft points are at most `MOST_SOFT`; else the best change found, with bound 0 (with more
        of them from the optimum without preferred points).
    """
    coordinates = _coordinates(problem)
    layer, begin = problem.requirements.layer, None
    bare = HiddenLayers(problem.requirements.network, layer.blocks, layer.scores)
    if many_preferred(problem) and (taught := distilled(problem, bare, shared=shared)) is not None:
        return taught
    if coordinates is not None:
        few = _with_few(problem, lambda group: group.preferred)
        early = replace(few, deadline=_before(problem.deadline))
        found = optimise(_turned(early, coordinates), shared=shared, known=known)
        delta = None if found.delta is None else coordinates.back(found.delta)
        if few is problem and delta is not None:
            return replace(found, delta=delta)
        if delta is None and found.status is not SolutionStatus.TIMEOUT:
            return found
        begin = delta
    return least_moved(problem, bare, shared=shared, start=start, begin=begin)


def _with_few(problem: LeastChange, left_out: Callable[[Group], bool]) -> LeastChange:
    """The problem; if its soft points are too many for exact programs, without some groups."""
    given = problem.requirements
    soft = [group for group in given.groups.values() if np.isfinite(group.penalty)]
    if sum(len(group.slack) for group in soft) <= MOST_SOFT:
        return problem
    groups = {name: group for name, group in given.groups.items() if not left_out(group)}
    requirements = Requirements(given.network, given.layer, groups)
    return replace(problem, requirements=requirements, _rows={}, _active={})


def _before(deadline: float | None) -> float | None:
    """When exact programs must end, so that time is left for a change that meets all requirements."""
    now = time.perf_counter()
    return None if deadline is None else now + EXACT * max(deadline - now, 0.0)


def least_moved_bound(problem: LeastChange, *, gap: float, known: float) -> Optimum:
    """A lower bound on the change of behaviour of every correct repair; 0 where none can be computed.

    More than `MOST_SOFT` soft points are left out: a bound without their prices is a lower one.
    """
    coordinates = _coordinates(problem)
    if coordinates is None:
        return Optimum(SolutionStatus.TIMEOUT, None, np.inf, 0.0, {}, 0)
    hard = _with_few(problem, lambda group: bool(np.isfinite(group.penalty)))
    return optimise(_turned(hard, coordinates), shared=False, gap=gap, known=known)


def _coordinates(problem: LeastChange) -> Coordinates | None:
    measure = problem.objective.squares
    assert isinstance(measure, SquaredMoves)
    return None if np.isfinite(problem.objective.reach).any() else measure.coordinates


def _turned(problem: LeastChange, coordinates: Coordinates) -> LeastChange:
    """The same rows, with the coordinates in place of the unknowns and their L2 norm to be least."""
    required = problem.requirements
    assert isinstance(required.layer, EditableLayer)
    layer = Turned(required.layer.block, required.layer.scores, required.layer.tail, coordinates=coordinates)
    return replace(
        problem,
        requirements=Requirements(required.network, layer, required.groups),
        objective=Objective("l2", name=problem.objective.name),
        weights=1.0,
        _rows={},
        _active=dict(problem._active),
    )
