r"""The least change that satisfies the rows of a node: a linear or quadratic program, rows added lazily.

With \(\delta = \sigma \delta'\) and \(\sigma\) the largest amount that is missing, the program is

$$ \min \lVert \delta' \rVert \quad\text{s.t.}\quad
   (c\, T J(h))\, \delta' \ge (need - s) / \sigma \;\text{ for the active rows},\quad
   |\delta'_i| \le U / \sigma, $$

where U is the norm of a change that is known to be enough, or infinite: for L1, L2 and Linf no better
change has an entry above U, so the bounds cut nothing off, and they make every dual bound rigorous.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from layerwise.norm import NORMS
from layerwise.program import Expr, Program
from repairsolver.errors import SolverError
from repairsolver.repairing.delta.requirements import Group, Requirements
from repairsolver.results import Array
from repairsolver.solvers import Solution, SolutionStatus, get_solver

BATCH = 60
"""Rows added at once."""

TOLERANCE = 1e-6
"""By how much, relative to the largest amount that was missing, a row may fall short."""

Key = tuple[str, int]
Row = tuple[str, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """The optimum of one node.

    Args:
        status: optimal, infeasible or timeout.
        delta: [unknowns], in the units of the parameters; None unless optimal.
        bound: a lower bound on the norm of every change that satisfies the node's rows.
    """

    status: SolutionStatus
    delta: Array | None
    bound: float


@dataclass(slots=True, eq=False)
class LeastChange:
    """Solves nodes over the same requirements with one margin; remembers which rows have mattered.

    Args:
        margin: asked of the strict rows.
        norm: l1, l2 or linf.
        solver: by name.
        deadline: `time.perf_counter()` value, or None.
        limit: U, the norm of a change that is known to be enough; infinite if none is.
        weights: of the unknowns in the norm, at least 1 each.
    """

    requirements: Requirements
    margin: float
    norm: str
    solver: str
    deadline: float | None = None
    limit: float = np.inf
    seed: int = 0
    weights: Array | float = 1.0
    _rows: dict[Row, Array] = field(default_factory=dict)
    _active: dict[Row, None] = field(default_factory=dict)

    def shortfall(self, group: Group, delta: Array) -> Array:
        """need - value, [b, r]: positive where a row is not reached."""
        return np.asarray(group.need(self.margin)[:, None] - self.requirements.values(group, delta))

    def scale(self) -> float:
        """The largest amount that is missing without any change; at least a rounding step."""
        start = np.zeros(self.requirements.layer.size)
        worst = [0.0]
        for group in self.requirements.groups.values():
            short = self.shortfall(group, start)
            worst.append(float((short.max(axis=1) if group.every else short.min(axis=1)).max(initial=0.0)))
        return max(max(worst), 1e-12)

    def cost(self, delta: Array) -> float:
        """The (weighted) norm of a change [unknowns]."""
        return NORMS[self.norm].value(delta, self.weights)

    def solve(self, choices: Mapping[Key, int], shared: bool) -> Relaxed:
        """The least change with the chosen rows, adding the most violated ones until none is violated."""
        scale = self.scale()
        bound, delta = 0.0, np.zeros(self.requirements.layer.size)
        while True:
            fresh = self._violated(choices, shared, delta, TOLERANCE * scale)
            if not fresh:
                return Relaxed(SolutionStatus.OPTIMAL, delta, bound)
            for row in fresh:
                self._active[row] = None
            solution, unit = self._once(self._allowed(choices, shared), scale)
            if solution.bound is not None:
                bound = max(bound, NORMS[self.norm].of_objective(solution.bound) * unit)
            if solution.values is None or solution.status is not SolutionStatus.OPTIMAL:
                return Relaxed(solution.status, None, bound)
            moved = solution.values[: len(delta)] * unit
            if np.array_equal(moved, delta):
                raise SolverError(
                    f"solver {self.solver!r} leaves {len(fresh)} rows violated by more than "
                    f"{TOLERANCE:g} (relative): take another solver, or a larger margin"
                )
            delta = moved

    def _violated(
        self, choices: Mapping[Key, int], shared: bool, delta: Array, tolerance: float
    ) -> list[Row]:
        """The worst rows that must hold in this node and do not."""
        found: list[tuple[float, Row]] = []
        for name, group in self.requirements.groups.items():
            short = self.shortfall(group, delta)
            forced = self._forced(name, group, choices, shared)
            for point, row in np.argwhere(forced & (short > tolerance)):
                found.append((float(short[point, row]), (name, int(point), int(row))))
        found.sort(key=lambda item: -item[0])
        return [row for _, row in found[:BATCH]]

    def _forced(self, name: str, group: Group, choices: Mapping[Key, int], shared: bool) -> NDArray[np.bool_]:
        """Which rows [b, r] must hold: of plain groups all, of the others those chosen."""
        if group.plain:
            return np.ones(group.slack.shape, dtype=bool)
        forced = np.zeros(group.slack.shape, dtype=bool)
        if shared:
            if (name, -1) in choices:
                forced[:, choices[name, -1]] = True
            return forced
        for (key, point), row in choices.items():
            if key == name:
                forced[point, row] = True
        return forced

    def _allowed(self, choices: Mapping[Key, int], shared: bool) -> list[Row]:
        groups = self.requirements.groups
        masks = {name: self._forced(name, group, choices, shared) for name, group in groups.items()}
        return [row for row in self._active if masks[row[0]][row[1], row[2]]]

    def _once(self, rows: Sequence[Row], scale: float) -> tuple[Solution, float]:
        """The program of some rows; the change is its solution times the unit that comes with it.

        The unit makes the solution's size about 1 whatever the sizes of the layer's inputs and of what is
        missing: solvers have absolute tolerances.
        """
        program = Program()
        size = self.requirements.layer.size
        matrix = np.stack([self._gradient(row) for row in rows])
        steepest = float(np.abs(matrix).max(axis=1).min())
        unit = scale / steepest if steepest > 0 else scale
        reach = self.limit / unit
        delta = NORMS[self.norm].minimise(program, size, lower=-reach, upper=reach, weights=self.weights)
        groups = self.requirements.groups
        missing = [groups[n].need(self.margin)[p] - groups[n].slack[p, r] for n, p, r in rows]
        program.rows((matrix * (unit / scale)) @ delta, lower=np.array(missing) / scale)
        left = None if self.deadline is None else max(self.deadline - time.perf_counter(), 0.05)
        solution = get_solver(self.solver).solve(program, seconds=left, seed=self.seed)
        return _changes(solution, delta), unit

    def _gradient(self, row: Row) -> Array:
        if row not in self._rows:
            name, point, index = row
            self._rows[row] = self.requirements.gradient(self.requirements.groups[name], point, index)
        return self._rows[row]


def _changes(solution: Solution, delta: Expr) -> Solution:
    """The solution with the changes as its values."""
    return solution if solution.values is None else replace(solution, values=delta.value(solution.values))
