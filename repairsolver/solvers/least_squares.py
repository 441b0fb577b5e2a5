r"""Least change in a weighted Euclidean norm under linear rows: a dual active-set projection.

For $q > 0$ the program $\min \tfrac12 \sum_j q_j v_j^2 + c^\top v$ is, in the coordinates
$w_j = \sqrt{q_j}(v_j + c_j/q_j)$, the projection of the origin onto a polyhedron
$\{w : g_k^\top w \ge h_k\}$. The method starts at the origin, takes the most violated constraint into
the active set N, and moves along the part of its normal that N leaves free, $z = g - N^\top r$ with
$N N^\top r = N g$, dropping constraints whose multiplier reaches zero. Every step raises the dual
objective, so that an interrupted run still has a lower bound; without a free part and without anything
to drop, $g - N^\top r = 0$ proves infeasibility (Farkas).

Source: Goldfarb and Idnani, A numerically stable dual method for solving strictly convex quadratic
programs, Mathematical Programming 27, 1983, section 3.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import qr_delete, solve_triangular

from layerwise.program import Array, Matrices, Program
from repairsolver.errors import SolverCapabilityError, SolverError
from repairsolver.solvers.bounding import lagrangian_bound
from repairsolver.solvers.driver import Answer, drive
from repairsolver.solvers.protocol import Availability, Feature, Solution, SolutionStatus

FEASIBILITY = 1e-9
"""Violation, in units of a row's norm times max(1, |w|), below which a row counts as satisfied."""

_FREE = 1e-7
_GAP = 1e-6
_BATCH = 200
_ROOM = 64
"""Active constraints that there is room for at first; it doubles."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Weighted least squares with linear rows and bounds; nothing else, but that much faster."""

    name: str = "projection"
    features: frozenset[Feature] = frozenset({Feature.QUADRATIC, Feature.DUAL_BOUND})

    def availability(self) -> Availability:
        import scipy

        return Availability(True, scipy.__version__, "built in, on scipy")

    def solve(
        self,
        program: Program,
        *,
        seconds: float | None = None,
        gap: float = 0.0,
        seed: int = 0,
        start: Array | None = None,
        options: Mapping[str, float | int | str | bool] | None = None,
    ) -> Solution:
        """Solve a program; see `Solver.solve`. Deterministic: the seed changes nothing.

        Raises:
            SolverCapabilityError: also for a program with a column outside the sum of squares.
        """
        if options:
            raise SolverError(f"solver 'projection' takes no options, got {', '.join(options)}")
        deadline = None if seconds is None else time.perf_counter() + seconds
        return drive(self, program, lambda flat: _solve(flat, deadline))


def _solve(flat: Matrices, deadline: float | None) -> Answer:
    linear = int((flat.quadratic <= 0).sum())
    if linear:
        raise SolverCapabilityError(
            f"solver 'projection' minimises sums of squares over all columns (norm l2), {linear} of "
            f"{len(flat.quadratic)} columns have no square: use 'highs' or 'gurobi'"
        )
    rows = _Polyhedron.of(flat)
    active = _Active.empty(len(flat.cost))
    status = _project(rows, active, deadline)
    multipliers = rows.row_multipliers(active, len(flat.row_lower))
    values = rows.centre + rows.spread * active.point()
    bound = lagrangian_bound(flat, multipliers, values)
    if status is not SolutionStatus.OPTIMAL:
        return Answer(status, bound=None if status is SolutionStatus.INFEASIBLE else bound)
    objective = float(flat.cost @ values + 0.5 * flat.quadratic @ values**2 + flat.offset)
    if bound is None or objective - bound > _GAP * max(1.0, abs(objective)):
        raise SolverError(
            f"solver 'projection' ended at {objective:.9g} with a duality gap, proved is {bound}: the rows "
            "are nearly dependent; scale them, or use 'highs' or 'gurobi'"
        )
    return Answer(status, values, bound)


@dataclass(frozen=True, slots=True, eq=False)
class _Polyhedron:
    """Rows and bounds in the coordinates w, each normal of length 1: low <= normals w <= high."""

    normals: sparse.csr_array
    low: Array
    high: Array
    norms: Array
    centre: Array
    spread: Array

    @staticmethod
    def of(flat: Matrices) -> _Polyhedron:
        """Substitute v = centre + spread * w; a row without entries was settled before."""
        spread, centre = 1.0 / np.sqrt(flat.quadratic), -flat.cost / flat.quadratic
        matrix = sparse.vstack([flat.rows, sparse.eye_array(len(spread))], format="csr")
        scaled = sparse.csr_array(matrix @ sparse.diags_array(spread))
        norms = np.sqrt(np.asarray((scaled * scaled).sum(axis=1), dtype=np.float64)).ravel()
        norms[norms == 0] = 1.0
        shift = matrix @ centre
        low = (np.concatenate([flat.row_lower, flat.lower]) - shift) / norms
        high = (np.concatenate([flat.row_upper, flat.upper]) - shift) / norms
        unit = sparse.csr_array(sparse.diags_array(1.0 / norms) @ scaled)
        return _Polyhedron(unit, low, high, norms, centre, spread)

    def worst(self, point: Array, count: int) -> NDArray[np.int64]:
        """The constraints that the point violates most, worst first."""
        activity = self.normals @ point
        violation = np.maximum(self.low - activity, activity - self.high)
        allowed = FEASIBILITY * max(1.0, float(np.linalg.norm(point)))
        ranked = np.argsort(-violation, kind="stable")[:count]
        return np.asarray(ranked[violation[ranked] > allowed], dtype=np.int64)

    def part(self, chosen: NDArray[np.int64]) -> _Polyhedron:
        """These constraints alone."""
        part = self.normals[chosen], self.low[chosen], self.high[chosen], self.norms[chosen]
        return _Polyhedron(*part, self.centre, self.spread)

    def constraint(self, position: int, index: int, point: Array) -> _Constraint:
        """The violated side of one constraint."""
        normal = self.normals[[position]].toarray()[0]
        low, high = float(self.low[position]), float(self.high[position])
        sign = 1.0 if float(normal @ point) < low else -1.0
        return _Constraint(index, sign, low == high, sign * normal, low if sign > 0 else -high)

    def row_multipliers(self, active: _Active, rows: int) -> Array:
        """The active multipliers as multipliers of the program's rows (bounds carry their own)."""
        result = np.zeros(len(self.low))
        signed = np.array(active.sign) * active.multipliers
        np.add.at(result, np.array(active.index, dtype=np.int64), signed)
        return (result / self.norms)[:rows]


@dataclass(slots=True, eq=False)
class _Active:
    """The active set: N^T = Q R, the right-hand sides h and the multipliers of its constraints.

    Normals carry their sign, so that every constraint reads g w >= h.

    Args:
        stored: the rows of Q^T, and room for more: Q is far larger than all else, and grows at every step.
    """

    stored: Array
    r: Array
    sides: Array
    multipliers: Array
    index: list[int] = field(default_factory=list)
    sign: list[float] = field(default_factory=list)
    equality: list[bool] = field(default_factory=list)

    @staticmethod
    def empty(width: int) -> _Active:
        return _Active(np.empty((_ROOM, width)), np.zeros((0, 0)), np.zeros(0), np.zeros(0))

    @property
    def q(self) -> Array:
        """Q, [columns, active]."""
        return self.stored[: len(self.index)].T

    def point(self) -> Array:
        """w = N^T lambda, the minimiser of the Lagrangian at the multipliers."""
        return np.asarray(self.q @ (self.r @ self.multipliers))

    def split(self, normal: Array) -> tuple[Array, Array]:
        """Coordinates r of the normal's part in the span of N, and its free part z = g - N^T r."""
        inner = self.q.T @ normal
        free = normal - self.q @ inner
        correction = self.q.T @ free  # Gram-Schmidt twice is enough
        free -= self.q @ correction
        coordinates = solve_triangular(self.r, inner + correction) if self.index else np.zeros(0)
        return np.asarray(coordinates), free

    def add(self, target: _Constraint, multiplier: float, coordinates: Array, free: Array) -> None:
        """Append a constraint whose free part is not zero."""
        length = float(np.linalg.norm(free))
        size = len(self.index)
        r = np.zeros((size + 1, size + 1))
        r[:size, :size], r[:size, size], r[size, size] = self.r, self.r @ coordinates, length
        if size == len(self.stored):
            room = np.empty((2 * size, self.stored.shape[1]))  # what is not used takes no memory
            room[:size] = self.stored
            self.stored = room
        self.stored[size], self.r = free / length, r
        self.sides = np.append(self.sides, target.side)
        self.multipliers = np.append(self.multipliers, multiplier)
        self.index.append(target.index)
        self.sign.append(target.sign)
        self.equality.append(target.equality)

    def drop(self, position: int) -> None:
        """Remove one constraint."""
        q, r = qr_delete(self.q, self.r, position, which="col")
        size = len(self.sides) - 1  # scipy takes a square Q for a full decomposition and keeps its size
        self.stored[:size], self.r = q[:, :size].T, np.array(r[:size], dtype=np.float64)
        self.sides = np.delete(self.sides, position)
        self.multipliers = np.delete(self.multipliers, position)
        for column in (self.index, self.sign, self.equality):
            del column[position]

    def polish(self) -> None:
        """Recompute the multipliers from the active equations alone, N N^T lambda = h."""
        if self.index:
            inner = solve_triangular(self.r, self.sides, trans="T")
            self.multipliers = np.asarray(solve_triangular(self.r, inner))


@dataclass(frozen=True, slots=True, eq=False)
class _Constraint:
    """One violated side of a row: normal w >= side."""

    index: int
    sign: float
    equality: bool
    normal: Array
    side: float


def _project(rows: _Polyhedron, active: _Active, deadline: float | None) -> SolutionStatus:
    """Grow the active set until no row is violated; a batch of rows is looked through at a time."""
    point = active.point()
    while True:
        batch = rows.worst(point, _BATCH)
        if not batch.size:
            active.polish()
            return SolutionStatus.OPTIMAL
        pool = rows.part(batch)
        while (worst := pool.worst(point, 1)).size:
            if deadline is not None and time.perf_counter() > deadline:
                return SolutionStatus.TIMEOUT
            position = int(worst[0])
            if not _satisfy(active, pool.constraint(position, int(batch[position]), point), point):
                return SolutionStatus.INFEASIBLE
            point = active.point()


def _satisfy(active: _Active, target: _Constraint, point: Array) -> bool:
    """Raise the dual objective until the constraint holds with equality; False if it cannot.

    Args:
        point: the active set's.
    """
    multiplier = 0.0
    while True:
        coordinates, free = active.split(target.normal)
        square = float(free @ free)
        full = (target.side - float(target.normal @ point)) / square if square > _FREE**2 else np.inf
        limits = np.full(len(coordinates), np.inf)
        falling = (coordinates > 0) & ~np.array(active.equality, dtype=bool)
        limits[falling] = np.maximum(active.multipliers[falling], 0.0) / coordinates[falling]
        step = min(full, float(limits.min(initial=np.inf)))
        if not np.isfinite(step):
            _check_farkas(active, target, coordinates)
            return False
        active.multipliers = active.multipliers - step * coordinates
        multiplier += step
        if full <= step:
            active.add(target, multiplier, coordinates, free)
            return True
        if np.isfinite(full):
            point = point + step * free
        active.drop(int(limits.argmin()))


def _check_farkas(active: _Active, target: _Constraint, coordinates: Array) -> None:
    """The normals cancel; the sides must not: 0 >= side - r h > 0 is the contradiction."""
    excess = target.side - float(coordinates @ active.sides)
    scale = abs(target.side) + float(np.abs(coordinates) @ np.abs(active.sides))
    if not excess > FEASIBILITY * scale:
        raise SolverError(
            f"solver 'projection' cannot decide whether row {target.index} contradicts the others (by "
            f"{excess:.3g}): scale the rows, or use 'highs' or 'gurobi'"
        )
