r"""The least weighted L1 norm under many rows over many unknowns: columns priced in, a basis kept warm.

$$ \min \sum_j w_j |\delta_j| + P \sum_k s_k \quad\text{s.t.}\quad
   G\delta + s \ge b,\ s \ge 0,\ |\delta_j| \le R_j. $$

A least change has about as many entries as rows that bind, so that most columns never matter. The program has
those of `columns` alone; with its multipliers \(\lambda\) a column j can help only if
\(|g_j^\top \lambda| > w_j\), and the worst such columns are added until there is none. Rows are added behind,
by the caller, and HiGHS goes on from its last basis. The shortfalls s keep every program feasible; their
price rises while some are left.

Any \(\lambda \ge 0\) bounds the norm of all changes that satisfy the rows, with
\(f = \max(1, \max_j |g_j^\top \lambda| / w_j)\), by weak duality:

$$ \sum_j w_j |\delta_j| \ge \lambda^\top b / f. $$

Source: Dantzig and Wolfe, Decomposition principle for linear programs, Operations Research 8, 1960 (pricing);
Bertsimas and Tsitsiklis, Introduction to linear optimization, 1997, sections 4.3 and 6.1.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.reduced import Least, Rows
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus
from repairsolver.solvers.highs import new_engine, set_time_limit

Ids = NDArray[np.int64]

MANY = 200
"""Rows, from where on pricing pays."""

WIDE = 100_000
"""Their entries, from where on it pays for fewer rows, too."""

FIRST = 4
"""Columns of every new row that the program begins with: those that move it most at their weight."""

BATCH = 300
"""Columns priced in at once."""

HELPS = 1e-7
"""By how much |g_j lambda| must exceed w_j, relatively."""

PRICE, DEARER, DEAREST = 10.0, 10.0, 1e6
"""P, in units of what the dearest row costs by its best column; the factor by which it rises; its end."""

LEFT = 1e-9
"""Shortfall, in units of the largest right-hand side, that counts as none."""


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """The answer.

    Args:
        status: optimal; infeasible where shortfalls stay at the highest price; timeout.
        delta: [unknowns], or None.
        bound: a proved lower bound.
    """

    status: SolutionStatus
    delta: Array | None
    bound: float


class PricedRows:
    """The same for the rows of a search, in units near 1, from `MANY` rows on."""

    def __init__(self, objective: Objective, seed: int) -> None:
        self.objective, self.seed, self.unit = objective, seed, 0.0
        self.program: PricedProgram | None = None

    def solve(self, rows: Rows, scale: float, seconds: float | None) -> Least | None:
        """The least change under the rows; those of the last call come first.

        Returns:
            None if this is better left to the plain program: few entries, or rows that seem infeasible.
        """
        count, size = rows.matrix.shape
        if count < MANY and rows.matrix.nnz < WIDE:
            return None
        if self.program is None:
            self.unit = scale / float(abs(rows.matrix).max(axis=1).toarray().min() or 1.0)
            weights = np.array(np.broadcast_to(self.objective.weights, size))
            reach = np.array(np.broadcast_to(self.objective.reach, size)) / self.unit
            self.program = PricedProgram(weights, reach, self.seed)
        matrix = sparse.csr_array(rows.matrix * (self.unit / scale))
        found = self.program.solve(matrix, rows.missing / scale, seconds)
        if found.status is SolutionStatus.INFEASIBLE:
            return None
        delta = None if found.delta is None else found.delta * self.unit
        return Least(found.status, delta, found.bound * self.unit)


@dataclass(slots=True, eq=False)
class PricedProgram:
    """A program that grows by rows and columns.

    Args:
        weights: w, [unknowns].
        reach: R, [unknowns].
        iterations: of the simplex method, in all calls.
    """

    weights: Array
    reach: Array
    seed: int = 0
    count: int = 0
    columns: Ids = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    short: Ids = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    places: Ids = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    price: float = 0.0
    iterations: int = 0
    _engine: Any = None
    _by_column: sparse.csc_array | None = None
    _sides: Array = field(default_factory=lambda: np.zeros(0))

    def solve(self, matrix: sparse.csr_array, missing: Array, seconds: float | None) -> Priced:
        """Solve with all rows; those of the last call must come first.

        Args:
            matrix: G, [rows, unknowns].
            missing: b, [rows].
        """
        if self._engine is None:
            self._engine = new_engine(seed=self.seed, options={"solver": "simplex"})
        deadline = None if seconds is None else time.perf_counter() + seconds
        self._by_column = sparse.csc_array(matrix)
        self._grow(matrix, missing)
        bound = 0.0
        while True:
            left = None if deadline is None else deadline - time.perf_counter()
            if left is not None and left <= 0:
                return Priced(SolutionStatus.TIMEOUT, None, bound)
            set_time_limit(self._engine, left)
            self._engine.run()
            self.iterations += self._engine.getInfo().simplex_iteration_count
            if self._engine.getModelStatus().name != "kOptimal":
                return Priced(SolutionStatus.TIMEOUT, None, bound)
            multipliers = np.maximum(np.asarray(self._engine.getSolution().row_dual), 0.0)
            ratio = np.abs(matrix.T @ multipliers) / self.weights
            bound = max(bound, self._bound(multipliers, ratio))
            if self._add_columns(ratio):
                continue
            values = np.asarray(self._engine.getSolution().col_value)
            if values[self.short].max(initial=0.0) <= LEFT * np.abs(missing).max():
                return Priced(SolutionStatus.OPTIMAL, self._delta(values), bound)
            if self.price >= DEAREST * self._unit(matrix, missing):
                return Priced(SolutionStatus.INFEASIBLE, None, bound)
            self._raise_price()

    def _bound(self, multipliers: Array, ratio: Array) -> float:
        """The larger of two: multipliers scaled down, and (with a reach) the Lagrangian at them."""
        gained = float(multipliers @ self._sides)
        scaled = gained / max(1.0, float(ratio.max(initial=0.0)))
        over = np.maximum(ratio - 1.0, 0.0) * self.weights
        if np.isinf(self.reach[over > 0]).any():
            return scaled
        return max(scaled, gained - float(over[over > 0] @ self.reach[over > 0]))

    def _unit(self, matrix: sparse.csr_array, missing: Array) -> float:
        """The dearest row's cost for one unit, by its best column."""
        best = abs(matrix * (1.0 / self.weights)[None]).max(axis=1).toarray().ravel()
        return float((1.0 / np.maximum(best, np.finfo(np.float64).tiny)).max())

    def _grow(self, matrix: sparse.csr_array, missing: Array) -> None:
        """Add the rows that are new, with their shortfalls and their best columns."""
        fresh = sparse.csr_array(matrix[self.count :])
        if not fresh.shape[0]:
            return
        if not self.price:
            self.price = PRICE * self._unit(matrix, missing)
        self._sides = missing.copy()
        count, infinite = fresh.shape[0], np.full(fresh.shape[0], np.inf)
        part = self._inside(fresh)
        self._engine.addRows(
            count, missing[self.count :], infinite, part.nnz,
            part.indptr[:-1].astype(np.int32), part.indices.astype(np.int32), part.data,
        )  # fmt: skip
        first = self._engine.getNumCol()
        self._engine.addCols(
            count, np.full(count, self.price), np.zeros(count), infinite, count,
            np.arange(count, dtype=np.int32), np.arange(self.count, self.count + count, dtype=np.int32),
            np.ones(count),
        )  # fmt: skip
        self.short = np.concatenate([self.short, np.arange(first, first + count)])
        self.count += count
        self._insert(self._best_columns(fresh))

    def _inside(self, fresh: sparse.csr_array) -> sparse.csr_array:
        """New rows over the columns that the program has: rises, falls and shortfalls."""
        inside = np.full(fresh.shape[1], -1)
        inside[self.columns] = np.arange(len(self.columns))
        rows = sparse.coo_array(fresh)
        kept = inside[rows.coords[1]] >= 0
        row, at = rows.coords[0][kept], self.places[inside[rows.coords[1][kept]]]
        shape = (fresh.shape[0], self._engine.getNumCol())
        up = sparse.csr_array((rows.data[kept], (row, at)), shape=shape)
        down = sparse.csr_array((-rows.data[kept], (row, at + 1)), shape=shape)
        return sparse.csr_array(up + down)

    def _best_columns(self, rows: sparse.csr_array) -> Ids:
        effect = np.abs(rows.data) / self.weights[rows.indices]
        ends = zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
        best = [rows.indices[a:b][np.argsort(-effect[a:b], kind="stable")[:FIRST]] for a, b in ends]
        return np.setdiff1d(np.concatenate(best).astype(np.int64), self.columns)

    def _add_columns(self, ratio: Array) -> int:
        """Price in the most helpful columns; how many."""
        ratio = ratio.copy()
        ratio[self.columns] = 0.0
        ranked = np.argsort(-ratio, kind="stable")[:BATCH]
        fresh = ranked[ratio[ranked] > 1 + HELPS]
        self._insert(fresh)
        return len(fresh)

    def _insert(self, fresh: Ids) -> None:
        """Two columns for each unknown, its rise and its fall."""
        if not len(fresh):
            return
        assert self._by_column is not None
        part = sparse.csc_array(self._by_column[: self.count, fresh])
        both = sparse.csc_array(sparse.hstack([part, -part], format="csc"))
        order = np.arange(2 * len(fresh)).reshape(2, -1).T.ravel()
        both = sparse.csc_array(both[:, order])
        first, double = self._engine.getNumCol(), np.repeat(fresh, 2)
        self._engine.addCols(
            len(double), self.weights[double], np.zeros(len(double)), self.reach[double], both.nnz,
            both.indptr[:-1].astype(np.int32), both.indices.astype(np.int32), both.data,
        )  # fmt: skip
        self.columns = np.concatenate([self.columns, fresh])
        self.places = np.concatenate([self.places, first + 2 * np.arange(len(fresh))])

    def _raise_price(self) -> None:
        self.price *= DEARER
        costs = np.full(len(self.short), self.price)
        self._engine.changeColsCost(len(self.short), self.short.astype(np.int32), costs)

    def _delta(self, values: Array) -> Array:
        delta = np.zeros(len(self.weights))
        delta[self.columns] = values[self.places] - values[self.places + 1]
        return delta
