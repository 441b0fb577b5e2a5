r"""The least change of hidden layers, or of several, by a sequence of affine models.

At a change \(\delta_k\) the scores of every point are replaced by their tangent. As long as requirements are
missed, the least *step* that meets them in this model is taken (the smaller, the truer the model), or the
share of it that really, by a forward pass, leaves least to do. From there on a share of the way to the
least *change* of the model is gone, and back to where everything is met, as long as that saves something.
Both programs are solved exactly, rows added lazily, disjunctions branched on. For one layer of a
piecewise-linear network the model is that of the activation pattern at \(\delta_k\), exact near it.
Where no start from the original network succeeds, random changes are tried as starts.

What is returned really meets the requirements. It is a local optimum, and its bound is 0, unless the
programs of `exact` are small enough to be solved too.

Source: Fletcher, Practical Methods of Optimization, 1987, section 14.2 (sequential linear programming
with an L1 merit function).
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from repairsolver.errors import SolverError
from repairsolver.network import operators as ops
from repairsolver.repairing.delta.branching import Optimum, optimise
from repairsolver.repairing.delta.exact import least_exactly
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.least_behaviour import least_behaviour, least_moved_bound
from repairsolver.repairing.delta.program import TOLERANCE, Key, LeastChange
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus

STEPS = 30
"""Models in one search."""

SHARES = (1.0, 0.7, 0.4, 0.2, 0.08, 0.03, 0.01)
"""Of the way to a model's optimum that are tried."""

IMPROVING = (1.0, 0.5, 0.2, 0.05)
"""Of the way to a smaller change, from where everything is met."""

RESTORING = 5
"""Least steps that lead back from there."""

GAIN = 5e-3
"""The share of the cost that an improvement has to save."""

NODES = 200
"""Programs for the choices of one model."""

STARTS = (0.05, 0.2, 0.5, 0.05, 0.2, 0.5)
"""Sizes of random starts, in units of the root mean square of the stored entries."""

PATIENCE = 0.4
"""The share of the time after which a change that meets everything is not made smaller any more."""

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
    if problem.objective.squares is not None:
        return least_behaviour(
            problem, shared=shared, known=known, start=lambda: _any_change(problem, shared)
        )
    if not isinstance(layer, HiddenLayers):
        return optimise(problem, shared=shared, known=known)
    found = _Descent(problem, layer, shared, known).run()
    plain = all(group.plain for group in problem.requirements.groups.values())
    small = found.delta is None or _units(problem.requirements, layer) <= SMALL
    if (shared and not plain) or not small:
        return found
    left = np.inf if problem.deadline is None else problem.deadline - time.perf_counter()
    within = replace(problem, deadline=time.perf_counter() + min(EXACT_SECONDS, EXACT_SHARE * left))
    better = least_exactly(within, layer, found.cost, gap=GAIN)
    return found if better.delta is None else better


def _any_change(problem: LeastChange, shared: bool) -> Array | None:
    """A change that meets all requirements, by its weights: where a search by behaviour may begin."""
    required = problem.requirements
    bare = HiddenLayers(required.network, required.layer.blocks, required.layer.scores)
    plain = replace(problem.objective, squares=None)
    weights = replace(
        problem,
        objective=plain,
        requirements=Requirements(required.network, bare, required.groups),
        _rows={},
        _active={},
    )
    return _Descent(weights, bare, shared, np.inf).run().delta


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
    if problem.objective.squares is not None:
        return least_moved_bound(problem, gap=gap, known=known)
    if not isinstance(layer, HiddenLayers):
        return optimise(problem, shared=False, gap=gap, known=known)
    return least_exactly(problem, layer, known, gap=gap)


def tangent(
    requirements: Requirements, layer: HiddenLayers, base: Array, *, step: bool = False
) -> Requirements:
    """The same requirements of the affine model at a change; with `step` of a further change from there."""
    model = layer.tangent(base)
    groups = {}
    for name, group in requirements.groups.items():
        offset = layer.effect(group.hidden, base) if step else model.offset(group.hidden)
        groups[name] = replace(group, slack=group.slack + offset @ group.readout.T)
    return Requirements(requirements.network, model, groups)


class _Descent:
    """A search in progress: where it is, and the best change that meets everything."""

    def __init__(self, problem: LeastChange, layer: HiddenLayers, shared: bool, known: float) -> None:
        self.problem, self.layer, self.shared = problem, layer, shared
        self.best: Array | None = None
        self.cost = known
        self.choices: dict[Key, int] = {}
        self.chosen: dict[Key, int] = {}
        self.model = problem
        self.solved = 0
        now = time.perf_counter()
        self.patience = np.inf if problem.deadline is None else now + PATIENCE * (problem.deadline - now)

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
        return Optimum(status, self.best, self.cost, 0.0, self.chosen, self.solved)

    def _late(self) -> bool:
        return self.problem.deadline is not None and time.perf_counter() > self.problem.deadline

    def _descend(self, base: Array) -> None:
        """Meet everything, then make the change smaller as long as that succeeds."""
        found = self._restored(base, STEPS)
        for _ in range(STEPS):
            if found is None:
                return
            self._keep(found)
            if time.perf_counter() > self.patience:
                return
            found = self._improved(found)

    def _restored(self, base: Array, steps: int) -> Array | None:
        """A change near this one that meets everything, by least steps; None where it is not reached."""
        allowed = TOLERANCE * self.problem.scale()
        for _ in range(steps):
            if self._lack(base) <= allowed:
                return base
            aim = self._aim(base, step=True)
            moved = None if aim is None else self._approached(base, aim)
            if moved is None:
                return None
            base = moved
        return base if self._lack(base) <= allowed else None

    def _approached(self, base: Array, step: Array) -> Array | None:
        """After the share of a step that leaves least to do; None if every share leaves more."""
        best: Array | None = None
        least, reach = self._lack(base), np.asarray(self.problem.objective.reach)
        for share in SHARES:
            trial = np.clip(base + share * step, -reach, reach)
            lack = self._lack(trial)
            if lack < 0.999 * least:
                best, least = trial, lack
            elif best is not None:
                break
        return best

    def _improved(self, base: Array) -> Array | None:
        """A smaller change that meets everything too: a share of the way to the model's least change,
        and from there back to where everything is met; None where no share helps."""
        aim = self._aim(base, step=False)
        if aim is None:
            return None
        cost = self.problem.cost(base)
        for share in IMPROVING:
            trial = base + share * (aim - base)
            if self.problem.cost(trial) > (1 - GAIN) * cost:
                return None
            found = self._restored(trial, RESTORING)
            if found is not None and self.problem.cost(found) <= (1 - GAIN) * cost:
                return found
        return None

    def _aim(self, base: Array, *, step: bool) -> Array | None:
        """The optimum of the model at a change: its least change, or the least step from there."""
        if self._late():
            return None
        model = tangent(self.problem.requirements, self.layer, base, step=step)
        active = dict(self.model._active)
        self.model = replace(self.problem, requirements=model, _rows={}, _active=active)
        try:
            optimum = optimise(self.model, shared=self.shared, gap=GAIN, nodes=NODES)
        except SolverError:  # gradients that all but vanish, behind saturated activations
            return None
        self.solved += optimum.nodes
        if optimum.delta is not None:
            self.choices = dict(optimum.choices)
        return optimum.delta

    def _keep(self, delta: Array) -> None:
        cost = self.problem.cost(delta)
        if cost < self.cost:
            self.best, self.cost, self.chosen = delta, cost, self.choices

    def _lack(self, delta: Array) -> float:
        """By how much the requirements are missed in all; soft ones are part of the cost instead."""
        total = 0.0
        for name, group in self.problem.requirements.groups.items():
            if np.isfinite(group.penalty):
                continue
            short = self.problem.shortfall(group, delta)
            if group.every:
                worst = short.max(axis=1)
            elif self.shared and (name, -1) in self.choices:
                worst = short[:, self.choices[name, -1]]
            else:
                worst = short.min(axis=1)
            total += float(np.maximum(worst, 0.0).sum())
        return total
