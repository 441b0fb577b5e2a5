r"""The least change that satisfies the rows of a node: rows are added while any of them is violated.

Every smaller program is a relaxation: its dual bound holds for all rows. With U the objective of a
change that is known to be enough, no better one has \(w_u |\delta_u| > U\) (L1, L2 and Linf), so that
these bounds cut nothing off, and they make every dual bound rigorous.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from repairsolver.errors import SolverError
from repairsolver.repairing.delta.layer import EditableLayer
from repairsolver.repairing.delta.mending import Wanted, mended
from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.priced import PricedRows
from repairsolver.repairing.delta.reduced import Least, Rows, least_change
from repairsolver.repairing.delta.requirements import Group, Requirements
from repairsolver.repairing.delta.resumed import Resumed
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus, Watch

BATCH = 60
"""Rows added at once; half as many as there are, if that is more."""

MANY = 1000
"""Unknowns, above which the columns of L1 programs are priced in."""

HELD = 4_000_000
"""Entries of dense gradients held at once."""

TOLERANCE = 1e-6
"""By how much, relative to the largest amount that was missing, a row may fall short."""

MENDING = 0.3
"""The share of the time that is kept for a change that satisfies all rows, should it run out."""

Key = tuple[str, int]
Row = tuple[str, int, int]
Entries = tuple[NDArray[np.int32], Array]
"""Columns and values of one row's entries."""


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """The optimum of one node.

    Args:
        status: optimal, infeasible or timeout.
        delta: [unknowns], in the units of the parameters; of a timeout one that satisfies the rows, if any.
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
        solver: by name.
        deadline: `time.perf_counter()` value, or None.
        limit: U, the objective of a change that is known to be enough; infinite if none is.
        weights: of the unknowns on top of the objective's own, at least 1 each.
        resumed: the programs of the same repair so far, to go on from; None: each is solved from scratch.
        watch: called while programs over integers are solved.
    """

    requirements: Requirements
    margin: float
    objective: Objective
    solver: str
    deadline: float | None = None
    limit: float = np.inf
    seed: int = 0
    weights: Array | float = 1.0
    resumed: Resumed | None = None
    watch: Watch | None = None
    _rows: dict[Row, Entries] = field(default_factory=dict)
    _active: dict[Row, None] = field(default_factory=dict)

    def shortfall(self, group: Group, delta: Array) -> Array:
        """need - value, [b, r]: positive where a row is not reached."""
        return np.asarray(group.need(self.margin)[:, None] - self.requirements.values(group, delta))

    @property
    def rows_used(self) -> int:
        """How many rows have been part of a program so far."""
        return len(self._active)

    def scale(self) -> float:
        """The largest amount that is missing without any change; at least a rounding step."""
        worst = [0.0]
        for group in self.requirements.groups.values():
            short = group.need(self.margin)[:, None] - group.slack
            worst.append(float((short.max(axis=1) if group.every else short.min(axis=1)).max(initial=0.0)))
        return max(max(worst), 1e-12)

    def cost(self, delta: Array) -> float:
        """The objective at a change [unknowns]: its (weighted) norm, and what soft points lack.

        With the L2 norm the root of the sum of squares of both.
        """
        norm, penalties = self.objective.value(delta, self.weights), self._penalties(delta)
        if self.objective.norm == "l2":
            return float(np.sqrt(norm**2 + penalties @ penalties))
        return norm + float(penalties.sum())

    def _penalties(self, delta: Array) -> Array:
        """What soft points lack, each its worst row, times the penalty, [points]."""
        soft = [group for group in self.requirements.groups.values() if np.isfinite(group.penalty)]
        lacks = [g.penalty * np.maximum(self.shortfall(g, delta).max(axis=1), 0.0) for g in soft]
        return np.concatenate([np.zeros(0), *lacks])

    def solve(self, choices: Mapping[Key, int], shared: bool) -> Relaxed:
        """The least change with the chosen rows, adding the most violated ones until none is violated.

        Rows that have mattered before, in other nodes and rounds, are there from the beginning.
        """
        if self.objective.moves is not None and not self._forerun(choices, shared):
            return Relaxed(SolutionStatus.INFEASIBLE, None, 0.0)
        scale = self.scale()
        bound, delta = 0.0, np.zeros(self.requirements.layer.size)
        objective = self._bounded()
        priced = PricedRows(objective, self.seed) if self._many_unknowns else None
        used: set[Row] = set()
        active = self._allowed(choices, shared)
        end = None if self.deadline is None else _before(self.deadline)
        while True:
            if used or not active:
                fresh = self._violated(choices, shared, delta, TOLERANCE * scale, used)
                if not fresh:
                    return Relaxed(SolutionStatus.OPTIMAL, delta, bound)
                if used.issuperset(fresh):
                    raise SolverError(
                        f"solver {self.solver!r} leaves {len(fresh)} rows violated by more than "
                        f"{TOLERANCE:g} (relative): take another solver, or a larger margin"
                    )
                self._active.update(dict.fromkeys(fresh))
                active = self._allowed(choices, shared)
            used = set(active)
            rows = self._program_rows(active)
            left = None if end is None else max(end - time.perf_counter(), 0.05)
            found = None if priced is None else priced.solve(rows, scale, left)
            if found is None:
                found = self._least(rows, objective, scale, left)
            if found.bound is not None:
                bound = max(bound, found.bound)
            if found.status is SolutionStatus.TIMEOUT:
                return Relaxed(found.status, self._mended(choices, shared, delta), bound)
            if found.delta is None:
                return Relaxed(found.status, None, bound)
            delta = found.delta

    def _least(self, rows: Rows, objective: Objective, scale: float, seconds: float | None) -> Least:
        if self.resumed is not None and self.resumed.suits(objective):
            return self.resumed.solve(rows, objective, scale, seconds)
        return least_change(rows, objective, scale=scale, solver=self.solver, seconds=seconds, seed=self.seed)

    def _mended(self, choices: Mapping[Key, int], shared: bool, delta: Array) -> Array | None:
        """A change that satisfies all rows of the node, near the last one that did not; None if not found."""
        groups = self.requirements.groups
        if self.deadline is None or any(np.isfinite(group.penalty) for group in groups.values()):
            return None
        forced = {name: self._forced(name, group, choices, shared) for name, group in groups.items()}
        needs = {name: group.need(self.margin) for name, group in groups.items()}
        reach = np.broadcast_to(self._bounded().reach, (self.requirements.layer.size,))
        return mended(Wanted(self.requirements, needs, forced, np.array(reach)), delta, self.deadline)

    @property
    def _many_unknowns(self) -> bool:
        """Whether columns are priced in: L1 norms by HiGHS, all points hard."""
        hard = all(np.isinf(group.penalty) for group in self.requirements.groups.values())
        plain = self.objective.norm == "l1" and self.objective.moves is None and self.solver == "highs"
        return hard and plain and self.requirements.layer.size > MANY

    def _forerun(self, choices: Mapping[Key, int], shared: bool) -> bool:
        """Collect rows by the least weights, which are cheap, before programs of moves; False: infeasible."""
        weights = replace(self.objective, moves=None)
        fore = replace(self, objective=weights, limit=np.inf).solve(choices, shared)
        return fore.status is not SolutionStatus.INFEASIBLE

    def _bounded(self) -> Objective:
        """The objective with all weights; its reach is cut by U, and by what rounding may add to a change."""
        weights, reach = self.objective.weights * self.weights, self.objective.reach
        if self.margin > 0:
            reach = self.objective.roundable
        if self.objective.bounds_entries:
            reach = np.minimum(reach, self.limit / np.asarray(weights))
        return replace(self.objective, weights=weights, reach=reach)

    def _violated(
        self, choices: Mapping[Key, int], shared: bool, delta: Array, tolerance: float, used: set[Row]
    ) -> list[Row]:
        """The worst rows that must hold in this node and do not; of every point the worst one alone.

        A soft point pays for its worst used row: only rows that lack more than that are missing.
        """
        found: list[tuple[float, Row]] = []
        most = max(BATCH, len(self._active) // 2)
        values = self.requirements.all_values(delta)
        paid = self._paid(values, used)
        for name, group in self.requirements.groups.items():
            short = group.need(self.margin)[:, None] - values[name]
            short[~self._forced(name, group, choices, shared)] = -np.inf
            worst = short.argmax(axis=1)
            value = short[np.arange(len(short)), worst]
            value = value - paid[name] if name in paid else value
            ranked = np.argsort(-value, kind="stable")[:most]
            ranked = ranked[value[ranked] > tolerance]
            found += [(float(value[point]), (name, int(point), int(worst[point]))) for point in ranked]
        found.sort(key=lambda item: -item[0])
        return [row for _, row in found[:most]]

    def _paid(self, values: Mapping[str, Array], used: set[Row]) -> dict[str, Array]:
        """What the used rows of soft points fall short by, [b] by group; 0 for points without."""
        groups = self.requirements.groups
        paid = {name: np.zeros(len(g.slack)) for name, g in groups.items() if np.isfinite(g.penalty)}
        if paid:
            for name, point, row in used:
                if name in paid:
                    short = float(groups[name].need(self.margin)[point] - values[name][point, row])
                    paid[name][point] = max(paid[name][point], short)
        return paid

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

    def _program_rows(self, rows: list[Row]) -> Rows:
        """The rows with what each lacks; soft points own their rows."""
        groups = self.requirements.groups
        self._collect([row for row in rows if row not in self._rows])
        missing = [groups[n].need(self.margin)[p] - groups[n].slack[p, r] for n, p, r in rows]
        points = [(n, p) for n, p, _ in rows if np.isfinite(groups[n].penalty)]
        place = {key: i for i, key in enumerate(dict.fromkeys(points))}
        return Rows(
            _stacked([self._rows[row] for row in rows], self.requirements.layer.size),
            np.array(missing),
            np.array([place.get((n, p), -1) for n, p, _ in rows], dtype=np.int64),
            np.array([groups[n].penalty for n, _ in place]),
            tuple(place),
        )

    def _collect(self, rows: list[Row]) -> None:
        """Compute gradients, the points of one row of a group together."""
        layer, groups = self.requirements.layer, self.requirements.groups
        if type(layer) is EditableLayer and layer.block.whole:
            for name, point, index in rows:
                at_layer = layer.tail.T @ groups[name].readout[index]
                columns, values = layer.block.entries(groups[name].hidden[point], at_layer)
                self._rows[name, point, index] = columns.astype(np.int32), values
            return
        most = max(1, HELD // layer.size)
        alike: dict[tuple[str, int], list[int]] = {}
        for name, point, index in rows:
            alike.setdefault((name, index), []).append(point)
        for (name, index), points in alike.items():
            group = groups[name]
            for start in range(0, len(points), most):
                part = points[start : start + most]
                dense = layer.gradient(group.hidden[part], group.readout[index : index + 1])[:, 0]
                for gradient, point in zip(dense, part, strict=True):
                    columns = np.flatnonzero(gradient)
                    self._rows[name, point, index] = columns.astype(np.int32), gradient[columns]


def _before(deadline: float) -> float:
    """When programs must end, so that time is left to mend what they leave."""
    now = time.perf_counter()
    return deadline - MENDING * max(deadline - now, 0.0)


def _stacked(rows: list[Entries], width: int) -> sparse.csr_array:
    """Rows below each other; scipy's `vstack` takes most of the time where there are thousands."""
    ends = np.cumsum([0, *(len(columns) for columns, _ in rows)])
    columns, values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return sparse.csr_array((values, columns, ends), shape=(len(rows), width))
