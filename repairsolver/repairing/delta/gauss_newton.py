r"""The least change of behaviour of layers anywhere in a network: damped Gauss-Newton steps with a penalty.

The sum of `merit` is lowered. With the curvature M and the gradient g of its first term, what rows fall
short by and the rows' gradients \(g_k\), a step d of the affine model is

$$ \min \tfrac12 d^\top M d + g^\top d + \tfrac\rho2 \sum_k (short_k - g_k^\top d)_+^2, \qquad
   d = M^{-1} \Bigl( \sum_k \lambda_k g_k - g \Bigr), $$

where the multipliers solve
\(\min_{\lambda \ge 0} \tfrac12 \lambda^\top (K + \tfrac1\rho I) \lambda - b^\top \lambda\) with
\(K_{ij} = g_i^\top M^{-1} g_j\): a small non-negative least-squares problem (`hinges`),
whatever the number of unknowns. A step is taken if it really lowers the sum; else M is damped more. The
penalty grows until every row has its sign. Where that is not reached, the steps of `momentum` go first.

Source: Nocedal and Wright, Numerical Optimization, 2006, sections 10.3 (Levenberg-Marquardt) and 17.1
(quadratic penalty).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from repairsolver.repairing.delta.branching import Optimum
from repairsolver.repairing.delta.curvature import Curvature, Pulled, Rows, curvature, derivatives
from repairsolver.repairing.delta.hidden import HiddenLayers
from repairsolver.repairing.delta.hinges import multipliers, ridged
from repairsolver.repairing.delta.merit import KEPT, Merit, State
from repairsolver.repairing.delta.momentum import descended
from repairsolver.repairing.delta.program import LeastChange, Row
from repairsolver.repairing.delta.squared_moves import SquaredMoves
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus

STEPS, FEW = 60, 20
"""Models from no change, and from where gradient steps led."""

TRIED, CLOSE = 12, 2e-3
"""After so many models without success, the share of the squares at first that may be left to go on."""

MOST_ROWS = 1500
"""Rows in one model, the worst ones."""

RIVALS = 3
"""Of a point that needs all its rows, so many worst ones are looked at."""

DAMPING, LEAST_DAMPING, MOST_DAMPING = 10.0, 1e-3, 1e5
"""The first damping in units of the mean curvature; its range."""

GOOD, POOR = 0.75, 0.25
"""Of what the model promises: from where on damping falls, and below which it rises."""

PATIENCE = 3
"""Steps between two rises of the penalty."""

WINDOW = 2.0
"""Rows that are met by less than so many margins are part of a model, too."""

FIRM = 100.0
"""The penalty of rows that are met at first and have to stay so."""

SETTLED = 1e-2
"""The share of the sum that a step saves, below which nothing is left to save."""


def least_moved(
    problem: LeastChange,
    layer: HiddenLayers,
    *,
    shared: bool,
    start: Callable[[], Array | None],
    begin: Array | None = None,
) -> Optimum:
    """A change that meets every requirement and moves behaviour as little as can be found; bound 0.

    Args:
        shared: one row for all points of a group in which one row is enough.
        start: finds some change that meets every requirement, where steps from no change do not.
        begin: a change that meets them, to go on from, if one is known.
    """
    measure = problem.objective.squares
    assert isinstance(measure, SquaredMoves)
    descent = _Descent(Merit(problem, layer, measure, shared), start)
    return descent.run() if begin is None else descent.bettered(begin)


def mended(merit: Merit, begin: Array) -> State | None:
    """The least change from one that lacks little, by few models; None if rows still lack their sign."""
    return _Descent(merit, lambda: None).mended(begin)


@dataclass(slots=True, eq=False)
class _Model:
    """The affine model at a state."""

    shapes: list[Curvature]
    gradient: Array
    rows: list[Rows] = field(default_factory=list)
    short: Array = field(default_factory=lambda: np.zeros(0))
    soft: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(slots=True, eq=False)
class _Descent:
    merit: Merit
    start: Callable[[], Array | None]
    damping: float = DAMPING
    steps: int = 0
    best: State | None = None
    inner: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    @property
    def problem(self) -> LeastChange:
        return self.merit.problem

    @property
    def layer(self) -> HiddenLayers:
        return self.merit.layer

    def run(self) -> Optimum:
        """Models from no change; if they fail, many small steps; if these fail, from what meets rows."""
        weight = 1.0 / max(len(self.merit.repaired), 1)
        self._descend(np.zeros(self.layer.size), weight, STEPS)
        if self.best is None and not self._late():
            weight = self._small_steps(weight)
        if self.best is None and not self._late() and (found := self.start()) is not None:
            self._descend(found, weight, STEPS)
        return self._optimum()

    def bettered(self, begin: Array) -> Optimum:
        """Models from a change that meets every row."""
        self._descend(begin, FIRM, STEPS)
        return self._optimum() if self.best is not None else self.run()

    def mended(self, begin: Array) -> State | None:
        """Few models from a change; the best with which every row has its sign."""
        self._descend(begin, 1.0 / max(len(self.merit.repaired), 1), FEW)
        return self.best

    def _small_steps(self, weight: float) -> float:
        reached = descended(self.merit, weight, self.problem.seed)
        for state in (reached.best, reached.last):
            if state is not None:
                self._accept(state)
        self._descend((reached.best or reached.last).delta, reached.weight, FEW)
        return reached.weight

    def _descend(self, start: Array, weight: float, steps: int) -> None:
        """Steps while they save something; the penalty grows as long as rows lack their sign."""
        state, since, self.damping = self.merit.state(start), 0, DAMPING
        self._accept(state)
        first = max(state.lack, self.merit.state(np.zeros(self.layer.size)).lack)
        for number in range(steps):
            slow = number >= TRIED and self.best is None and state.lack > CLOSE * first
            if slow or self._late():
                return
            self.steps += 1
            moved = self._step(state, weight)
            saved = 0.0 if moved is None else 1 - moved.total(weight) / max(state.total(weight), 1e-300)
            state, since = moved or state, since + 1
            done = self._accept(state)
            if done and saved < SETTLED:
                return
            if not done and (saved < SETTLED or since >= PATIENCE):
                weight, since = weight * (4.0 if moved is None else 2.0), 0
                self.damping = min(self.damping, DAMPING)

    def _optimum(self) -> Optimum:
        if self.best is None:
            status = SolutionStatus.TIMEOUT if self._late() else SolutionStatus.FEASIBLE
            return Optimum(status, None, np.inf, 0.0, {}, self.steps)
        cost = self.problem.cost(self.best.delta)
        return Optimum(SolutionStatus.FEASIBLE, self.best.delta, cost, 0.0, {}, self.steps)

    def _late(self) -> bool:
        return self.problem.deadline is not None and time.perf_counter() > self.problem.deadline

    def _accept(self, state: State) -> bool:
        """Keep a state in which every row has its sign; whether it is one."""
        if state.missing > 0:
            return False
        if self.best is None or state.behaviour <= self.best.behaviour:
            self.best = state
        return True

    def _step(self, state: State, weight: float) -> State | None:
        """The state after the first step that lowers the sum; None if none does."""
        inputs = self.merit.squares.inputs
        shapes, gradient = curvature(self.layer, state.delta, inputs, state.residual, self.inner)
        model = _Model(shapes, gradient + self.merit.pull(state.delta))
        self._add_rows(model, state)
        while self.damping <= MOST_DAMPING and not self._late():
            step, promised = self._solved(model, weight)
            new = self.merit.state(self.merit.within(state.delta + step))
            gained = state.total(weight) - new.total(weight)
            if gained > 1e-6 * state.total(weight):
                ratio = gained / max(promised, 1e-300)
                self.damping *= 0.25 if ratio > GOOD else 2.0 if ratio < POOR else 1.0
                self.damping = max(self.damping, LEAST_DAMPING)
                return new
            self.damping *= 4.0
        return None

    def _solved(self, model: _Model, weight: float) -> tuple[Array, float]:
        """The step of the model, and by how much it lowers the model's sum."""
        parts = np.split(model.gradient, np.cumsum([s.block.size for s in model.shapes])[:-1])
        damping = self.damping
        step = [-s.inverse(p, damping) for s, p in zip(model.shapes, parts, strict=True)]
        if not model.rows:
            whole = np.concatenate(step)
            return whole, -0.5 * float(model.gradient @ whole)
        weights = np.where(np.isfinite(model.soft), model.soft, weight)
        bare = sum((rows.kernel(damping) for rows in model.rows), start=np.zeros((len(weights),) * 2))
        kernel, weights = ridged(bare, weights)
        wanted = model.short.copy()
        for rows, part in zip(model.rows, step, strict=True):
            wanted -= rows.along(part)
        pressed = multipliers(kernel, wanted)
        whole = np.concatenate(
            [part + rows.combined(pressed, damping) for rows, part in zip(model.rows, step, strict=True)]
        )
        before = 0.5 * float(weights @ np.maximum(model.short, 0.0) ** 2)
        # By duality the model's least sum is b' lambda - lambda' (K + I / weight) lambda / 2 - g' M^-1 g / 2.
        dual = float(wanted @ pressed - 0.5 * pressed @ kernel @ pressed)
        return whole, before - dual - 0.5 * float(model.gradient @ np.concatenate(step))

    def _add_rows(self, model: _Model, state: State) -> None:
        """The rows that may matter, with their gradients."""
        chosen = self._rows(state)
        if not chosen:
            return
        groups = self.problem.requirements.groups
        points = list(dict.fromkeys((name, point) for name, point, _ in chosen))
        place = {key: i for i, key in enumerate(points)}
        inputs = np.array([groups[name].inputs[point] for name, point in points])
        at = np.array([place[name, point] for name, point, _ in chosen])
        readout = np.array([groups[name].readout[row] for name, _, row in chosen], dtype=np.float64)
        model.soft = np.array([groups[name].penalty for name, _, _ in chosen]) ** 2
        model.short = np.array([state.short[name][point, row] for name, point, row in chosen])
        model.rows = self._pulled(model.shapes, state.delta, inputs, at, readout)

    def _pulled(
        self, shapes: list[Curvature], delta: Array, inputs: Array, at: Array, readout: Array
    ) -> list[Rows]:
        """The gradients of rows at points inputs[at], in the order of the points."""
        blocks = self.layer.blocks
        hidden: list[list[Array]] = [[] for _ in blocks]
        pulled: list[list[Array]] = [[] for _ in blocks]
        for part, values, back in derivatives(self.layer.edited(delta), self.layer, inputs):
            here = np.flatnonzero((at >= part.start) & (at < part.stop))
            for i, block in enumerate(blocks):
                hidden[i].append(values[block.node.inputs[0]][at[here] - part.start])
                rows = back[block.node.name][at[here] - part.start]
                pulled[i].append(np.einsum("km,kms->ks", readout[here], rows))
        return [
            shape.rows(Pulled(np.concatenate(h), np.concatenate(p)))
            for shape, h, p in zip(shapes, hidden, pulled, strict=True)
        ]

    def _rows(self, state: State) -> list[Row]:
        """The worst rows of every point that falls short, or could after a step.

        If they are too many, those of points that must be right come first, then the worst ones.
        """
        found: list[tuple[bool, float, Row]] = []
        for name, group in self.problem.requirements.groups.items():
            short = state.short[name]
            window = WINDOW * (1.0 if group.strict else KEPT) * self.problem.margin
            count = min(RIVALS, short.shape[1]) if group.every else 1
            ranked = np.where(self.merit.chosen(group, short), short, -np.inf)
            order = np.argsort(-ranked, axis=1, kind="stable")[:, :count]
            for rank in range(order.shape[1]):
                worst = short[np.arange(len(short)), order[:, rank]]
                for point in np.flatnonzero(worst > -window):
                    row = (name, int(point), int(order[point, rank]))
                    found.append((bool(np.isfinite(group.penalty)), float(worst[point]), row))
        found.sort(key=lambda item: (item[0], -item[1]))
        chosen = [row for *_, row in found[:MOST_ROWS]]
        return sorted(chosen)
