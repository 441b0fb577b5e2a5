r"""The least change under some rows, over the unknowns that these rows touch.

An unknown that no row touches stays 0 in a least change, so that it needs no column: few rows over a
layer of millions of weights are a small program. With \(\delta = u\,\delta'\) and rows divided by
\(\sigma\), solvers see numbers near 1 whatever the sizes of the layer's inputs and of what is missing:

$$ \min \lVert w \odot \delta' \rVert + \sum_i \frac{\pi_i \sigma}{u} s_i \quad\text{s.t.}\quad
   \frac{u}{\sigma} g_k \delta' + s_{i(k)} \ge \frac{missing_k}{\sigma},\quad s \ge 0,\quad
   |\delta'_j| \le R_j / u, $$

where rows of points that must be kept have no s; with the L2 norm the squares of both are added up
instead. After an L0 program, the entries that it chose get the least L1 norm, because binaries say nothing
about sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from layerwise.norm import NORMS
from layerwise.program import Expr, Program
from repairsolver.errors import SolverError
from repairsolver.repairing.delta.objective import Objective
from repairsolver.results import Array
from repairsolver.solvers import Solution, SolutionStatus, Solver, solve

INTERIOR = {"solver": "ipx", "run_crossover": "off"}
"""Options of HiGHS for the change of behaviour: thousands of rows that all bind."""


CROSSED = {"solver": "ipx"}
"""Options of HiGHS for an L1 norm with more than `MANY` rows, where simplex takes several times as long."""

MANY = 500


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows g delta >= missing over all unknowns.

    Args:
        matrix: g, [k, unknowns].
        missing: [k].
        owner: [k], which soft point a row belongs to, -1 for rows that must hold.
        penalty: pi, one per soft point, for each unit by which its worst row falls short.
        points: what tells the soft points apart from call to call.
    """

    matrix: sparse.csr_array
    missing: Array
    owner: NDArray[np.int64]
    penalty: Array
    points: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Least:
    """The answer: [unknowns] unless there is none, and a lower bound on the objective of all others."""

    status: SolutionStatus
    delta: Array | None
    bound: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Columns and units of a program.

    Args:
        touched: the unknowns that are columns.
        unit: u.
        scale: sigma.
    """

    touched: NDArray[np.int64]
    unit: float
    scale: float

    @classmethod
    def of(cls, matrix: sparse.csr_array, objective: Objective, scale: float) -> Frame:
        """Numbers near 1 for these rows, and the columns that they and the objective need."""
        # The largest change counts alone: entries that no row needs cost nothing, and may keep decisions.
        whole = objective.moves is not None or objective.norm == "linf"
        touched = np.arange(matrix.shape[1]) if whole else np.unique(matrix.indices).astype(np.int64)
        steepest = float(abs(matrix).max(axis=1).toarray().min()) if matrix.nnz else 0.0
        return cls(touched, scale / steepest if steepest > 0 else scale, scale)


def least_change(
    rows: Rows,
    objective: Objective,
    *,
    scale: float,
    solver: str | Solver,
    seconds: float | None,
    seed: int,
    frame: Frame | None = None,
) -> Least:
    """Solve the program of the module's formula.

    Args:
        objective: norm, weights and reach, all [unknowns].
        scale: sigma.
        frame: columns and units, where they are not those that suit these rows best.
    """
    size = rows.matrix.shape[1]
    frame = frame or Frame.of(rows.matrix, objective, scale)
    touched, unit, scale = frame.touched, frame.unit, frame.scale
    matrix = rows.matrix if len(touched) == size else restricted(rows.matrix, touched)
    small = replace(rows, matrix=sparse.csr_array(matrix * (unit / scale)), missing=rows.missing / scale)
    price = scale / unit**objective.degree
    part = replace(
        objective,
        weights=np.asarray(np.broadcast_to(objective.weights, size)[touched]),
        reach=np.asarray(np.broadcast_to(objective.reach, size)[touched]) / unit,
        moves=None if objective.moves is None else objective.moves * (unit / scale),
    )
    # Moves count in units of sigma, weights in units of u.
    price, back = (1.0, scale) if objective.moves is not None else (price, unit**objective.degree)
    found = _solve(small, part, price, solver, seconds, seed)
    bound = found.solution.bound
    if bound is not None:
        bound = NORMS[objective.norm].of_objective(bound) * back
    if found.solution.status is not SolutionStatus.OPTIMAL:
        return Least(found.solution.status, None, bound)
    values = _polished(small, part, found, seconds, seed) if objective.norm == "l0" else found.values
    delta = np.zeros(size)
    delta[touched] = values * unit
    return Least(found.solution.status, delta, bound)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A solution, with the changes [columns] and what soft points fall short by, both empty without one."""

    solution: Solution
    values: Array
    short: Array


def _solve(
    rows: Rows,
    objective: Objective,
    price: float,
    solver: str | Solver,
    seconds: float | None,
    seed: int,
) -> _Found:
    program = Program()
    size, soft = rows.matrix.shape[1], len(rows.penalty)
    reach = np.asarray(objective.reach)
    norm = NORMS[objective.norm]
    plain = solver == "highs"  # a session goes on by the simplex method from where it is
    delta, options = _objective(program, size, reach, objective, plain)
    slack = program.columns(soft, 0.0, name="short")
    left: Expr = rows.matrix @ delta
    if soft:
        at = np.flatnonzero(rows.owner >= 0)
        shape = (len(rows.owner), soft)
        left = left + sparse.csr_array((np.ones(len(at)), (at, rows.owner[at])), shape=shape) @ slack
        if norm.quadratic:
            program.minimise_squares(slack, (rows.penalty * price) ** 2)
        else:
            program.add_cost((rows.penalty * price)[None] @ slack)
    program.rows(left, lower=rows.missing)
    if options is None and plain and norm.name == "l1" and len(rows.missing) > MANY:
        options = CROSSED
    try:
        solution = solve(program, solver, seconds=seconds, seed=seed, options=options)
    except SolverError:  # of the interior point; the simplex method takes longer, and does without it
        if options is None:
            raise
        solution = solve(program, solver, seconds=seconds, seed=seed)
    if solution.values is None:
        return _Found(solution, np.zeros(0), np.zeros(0))
    values = delta.value(solution.values)
    if norm.integers:  # the binaries stand right behind the changes; an entry without one is a residue
        values = np.where(solution.values[size : 2 * size] > 0.5, values, 0.0)
    return _Found(solution, values, slack.value(solution.values))


def _objective(
    program: Program, size: int, reach: Array, objective: Objective, interior: bool
) -> tuple[Expr, dict[str, str] | None]:
    """Add the changes and what is least of them; returns them, and options that suit the program."""
    if objective.moves is None:
        norm = NORMS[objective.norm].minimise
        return norm(program, size, lower=-reach, upper=reach, weights=objective.weights), None
    delta = program.columns(size, -reach, reach, name="delta")
    moves = objective.moves
    up = program.columns(moves.shape[0], 0.0, name="up")
    down = program.columns(moves.shape[0], 0.0, name="down")
    program.rows(moves @ delta - up + down, lower=0.0, upper=0.0)
    program.minimise(np.ones((1, moves.shape[0])) @ (up + down))
    return delta, INTERIOR if interior else None


def _polished(rows: Rows, objective: Objective, found: _Found, seconds: float | None, seed: int) -> Array:
    """The least L1 norm with the entries of an L0 solution alone, soft points no worse than there."""
    chosen = np.flatnonzero(found.values)
    if not chosen.size:
        return found.values
    solver = found.solution.solver
    given = np.where(rows.owner >= 0, np.append(found.short, 0.0)[rows.owner], 0.0)
    hard = np.full(len(rows.owner), -1)
    part = Rows(sparse.csr_array(rows.matrix[:, chosen]), rows.missing - given, hard, np.zeros(0))
    least = _solve(
        part, Objective("l1", 1.0, np.asarray(objective.reach)[chosen]), 0.0, solver, seconds, seed
    )
    if least.solution.status in (SolutionStatus.TIMEOUT, SolutionStatus.FEASIBLE):
        return found.values
    if least.solution.values is None:
        raise SolverError(
            f"solver {solver!r} chose {len(chosen)} entries whose change does not satisfy the rows by "
            "itself: give a smaller max_change, on which the binaries' precision rests"
        )
    result = np.zeros_like(found.values)
    result[chosen] = least.values
    return result


def touched_columns(matrix: sparse.csr_array) -> tuple[NDArray[np.int64], sparse.csr_array]:
    """The columns with entries, and the matrix of these alone."""
    touched = np.unique(matrix.indices).astype(np.int64)
    return touched, restricted(matrix, touched)


def restricted(matrix: sparse.csr_array, columns: NDArray[np.int64]) -> sparse.csr_array:
    """These columns alone, in their order, which must be ascending and hold all entries."""
    position = np.searchsorted(columns, matrix.indices).astype(np.int32)
    shape = (matrix.shape[0], len(columns))
    return sparse.csr_array((matrix.data, position, matrix.indptr), shape=shape)
