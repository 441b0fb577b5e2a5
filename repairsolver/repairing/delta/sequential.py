r"""The least change of hidden layers, or of several, by a sequence of affine models.

At a change \(\delta_k\) the scores of every point are replaced by their tangent, and the least change
\(\delta^*\) of that model is found exactly (rows added lazily, disjunctions branched on). Of the points on
the way from \(\delta_k\) to \(\delta^*\) the one is taken that really (by a forward pass) meets everything at
the least cost, or else lacks least; smaller steps are tried as long as nothing improves. For one layer of
a piecewise-linear network the model is the program of the activation pattern at \(\delta_k\), exact near it.
Where no start from the original network succeeds, random changes are tried as starts.

What is returned really meets the requirements. It is a local optimum, and its bound is 0, unless the
programs of `exact` are small enough to be solved too.

Source: Fletcher, Practical Methods of Optimization, 1987, section 14.2 (sequential linear programming
with an L1 merit function).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from repairsolver.network import operators as ops
from repairsolver.repairing.delta.branching import Optimum, optimise
from repairsolver.repairing.delta.exact import least_exactly
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.program import TOLERANCE, Key, LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus

STEPS = 30
"""Models in one search."""

SHARES = (1.0, 0.7, 0.4, 0.2, 0.08, 0.03, 0.01)
"""Of the way to a model's optimum that are tried."""

GAIN = 2e-3
"""A search that meets everything ends when a step saves less than this share of the cost."""

NODES = 200
"""Programs for the choices of one model."""

STARTS = (0.05, 0.2, 0.5, 0.05, 0.2, 0.5)
"""Sizes of random starts, in units of the root mean square of the stored entries."""

SMALL = 400
"""Activations, at all points together, up to which the exact program is tried too."""

EXACT_SECONDS, EXACT_SHARE = 10.0, 0.3
"""Longest exact search, and its share of the time that is left."""


def least(problem: LeastChange, *, shared: bool, known: float = np.inf) -> Optimum:
    """The least change that meets all requirements, exactly for an affine layer.

    Args:
        shared, known: see `branching.optimise`.

    Returns:
        For other layers the best change found, with bound 0; without one `feasible` says that nothing was
        found, which proves nothing.
    """
    layer = problem.requirements.layer
    if not isinstance(layer, HiddenLayers):
        return optimise(problem, shared=shared, known=known)
    found = _Descent(problem, layer, shared, known).run()
    plain = all(group.plain for group in problem.requirements.groups.values())
    if (shared and not plain) or _units(problem.requirements, layer) > SMALL:
        return found
    left = np.inf if problem.deadline is None else problem.deadline - time.perf_counter()
    within = replace(problem, deadline=time.perf_counter() + min(EXACT_SECONDS, EXACT_SHARE * left))
    better = least_exactly(within, layer, found.cost, gap=GAIN)
    return found if better.delta is None else better


def _units(requirements: Requirements, layer: HiddenLayers) -> int:
    """Activations behind the layer, at all points together."""
    nodes = layer.network.nodes
    behind = nodes[nodes.index(layer.blocks[0].node) + 1 :]
    count = sum(node.size for node in behind if not isinstance(node.operator, ops.Linear))
    return count * len({row.tobytes() for row in requirements.inputs()})


def least_bound(problem: LeastChange, *, gap: float, known: float) -> Optimum:
    """A lower bound on every change that meets all requirements, each point free in its choice of row.

    Args:
        gap, known: see `branching.optimise`.
    """
    layer = problem.requirements.layer
    if not isinstance(layer, HiddenLayers):
        return optimise(problem, shared=False, gap=gap, known=known)
    return least_exactly(problem, layer, known, gap=gap)


def tangent(requirements: Requirements, layer: HiddenLayers, base: Array) -> Requirements:
    """The same requirements of the affine model at a change."""
    model = layer.tangent(base)
    groups = {
        name: replace(group, slack=group.slack + model.offset(group.hidden) @ group.readout.T)
        for name, group in requirements.groups.items()
    }
    return Requirements(requirements.network, model, groups)


class _Descent:
    """A search in progress: where it is, and the best change that meets everything."""

    def __init__(self, problem: LeastChange, layer: HiddenLayers, shared: bool, known: float) -> None:
        self.problem, self.layer, self.shared = problem, layer, shared
        self.best: Array | None = None
        self.cost = known
        self.choices: dict[Key, int] = {}
        self.model = problem
        self.solved = 0

    def run(self) -> Optimum:
        rng = np.random.default_rng(self.problem.seed)
        stored = self.layer.gathered({p.source.tensor: p.stored for p in self.layer.parameters})
        size = float(np.sqrt((stored**2).mean())) or 1.0
        self._descend(np.zeros(self.layer.size))
        for start in STARTS:
            if self.best is not None or self._late():
                break
            self._descend(start * size * rng.normal(size=self.layer.size))
        status = SolutionStatus.TIMEOUT if self.best is None and self._late() else SolutionStatus.FEASIBLE
        return Optimum(status, self.best, self.cost, 0.0, self.choices, self.solved)

    def _late(self) -> bool:
        return self.problem.deadline is not None and time.perf_counter() > self.problem.deadline

    def _descend(self, base: Array) -> None:
        for _ in range(STEPS):
            moved = None if self._late() else self._step(base)
            if moved is None:
                return
            base = moved

    def _step(self, base: Array) -> Array | None:
        """The next change, or None where no step improves anything."""
        self.model = replace(
            self.problem,
            requirements=tangent(self.problem.requirements, self.layer, base),
            _rows={},
            _active=dict(self.model._active),
        )
        optimum = optimise(self.model, shared=self.shared, gap=GAIN, nodes=NODES)
        self.solved += optimum.nodes
        if optimum.delta is None:
            return None
        lacking = self._lack(base, optimum.choices)
        allowed = TOLERANCE * self.problem.scale()
        if lacking > allowed:
            return self._approach(base, optimum, lacking, allowed)
        return self._improve(base, optimum, allowed)

    def _approach(self, base: Array, optimum: Optimum, lacking: float, allowed: float) -> Array | None:
        """Towards meeting everything: the share of the way that leaves least to do."""
        assert optimum.delta is not None
        best: tuple[float, Array] | None = None
        for share in SHARES:
            trial = base + share * (optimum.delta - base)
            lack = self._lack(trial, optimum.choices)
            if lack <= allowed:
                self._keep(trial, optimum)
                return trial
            if lack < 0.999 * lacking and (best is None or lack < best[0]):
                best = lack, trial
            elif best is not None:
                break
        return None if best is None else best[1]

    def _improve(self, base: Array, optimum: Optimum, allowed: float) -> Array | None:
        """Towards a smaller change, all requirements met on the way."""
        assert optimum.delta is not None
        cost = self.problem.cost(base)
        for share in SHARES:
            trial = base + share * (optimum.delta - base)
            if self.problem.cost(trial) > (1 - GAIN) * cost:
                return None
            if self._lack(trial, optimum.choices) <= allowed:
                self._keep(trial, optimum)
                return trial
        return None

    def _keep(self, delta: Array, optimum: Optimum) -> None:
        cost = self.problem.cost(delta)
        if cost < self.cost:
            self.best, self.cost, self.choices = delta, cost, dict(optimum.choices)

    def _lack(self, delta: Array, choices: Mapping[Key, int]) -> float:
        """By how much the requirements are missed in all; soft ones are part of the cost instead."""
        total = 0.0
        for name, group in self.problem.requirements.groups.items():
            if np.isfinite(group.penalty):
                continue
            short = self.problem.shortfall(group, delta)
            if group.every:
                worst = short.max(axis=1)
            elif self.shared and (name, -1) in choices:
                worst = short[:, choices[name, -1]]
            else:
                worst = short.min(axis=1)
            total += float(np.maximum(worst, 0.0).sum())
        return total
