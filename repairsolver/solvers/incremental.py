"""Linear programs with very many rows: added to HiGHS only when violated."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerwise.program import Array, Matrices, Program
from repairsolver.errors import SolverCapabilityError
from repairsolver.solvers.driver import Answer, checked, required_features, settle, tidy
from repairsolver.solvers.highs import FEASIBILITY, Options, new_engine, pass_model, run, set_time_limit
from repairsolver.solvers.protocol import Solution, SolutionStatus

NAME = "highs"

_SHORT_ROW = 3


def solve_lazily(
    program: Program,
    *,
    seconds: float | None = None,
    seed: int = 0,
    batch: int = 200,
    options: Options | None = None,
) -> Solution:
    """Solve a linear program with very many rows of which few bind, by HiGHS.

    Begins with the short rows (at most 3 entries: bounds between columns, cheap) and the `batch` rows most
    violated at the point nearest to zero, then adds the `batch` most violated rows until none is violated
    by more than 1e-7. Each smaller program is a relaxation, so its optimum and its dual bound are lower
    bounds; the last point satisfies all rows, so it is optimal.

    Returns:
        A solution of the whole program, checked against every row; on a time limit the status is
        `TIMEOUT` and `bound` holds the best relaxation's bound, if any.

    Raises:
        SolverCapabilityError: the program has integers or a quadratic objective.
    """
    started = time.perf_counter()
    flat = _linear(tidy(program.matrices()))
    answer = settle(flat)
    if answer is None:
        deadline = None if seconds is None else started + seconds
        answer = _rounds(flat, new_engine(seed=seed, options=options), deadline, batch)
    return checked(NAME, program, flat, answer, started)


def _rounds(flat: Matrices, engine: Any, deadline: float | None, batch: int) -> Answer:
    pending = np.diff(flat.rows.indptr) > _SHORT_ROW
    order = np.flatnonzero(~pending)
    fresh = worst_rows(flat, np.clip(0.0, flat.lower, flat.upper), pending, batch)
    best: float | None = None
    rebuild = True
    while True:
        pending[fresh] = False
        order = np.concatenate([order, fresh])
        part = _part(flat, order)
        if rebuild:
            pass_model(engine, part)
        else:
            append_rows(engine, flat, fresh)
        set_time_limit(engine, None if deadline is None else max(deadline - time.perf_counter(), 0.0))
        answer = run(engine, part)
        if answer.bound is not None:
            best = answer.bound if best is None else max(best, answer.bound)
        rebuild = answer.status is SolutionStatus.UNBOUNDED
        if rebuild:
            fresh = np.flatnonzero(pending)[:batch]
        elif answer.values is not None and answer.status is SolutionStatus.OPTIMAL:
            fresh = worst_rows(flat, answer.values, pending, batch)
        else:
            status = SolutionStatus.TIMEOUT if answer.status is SolutionStatus.FEASIBLE else answer.status
            return Answer(status, bound=best)
        if not fresh.size:
            return replace(answer, bound=best)


def worst_rows(flat: Matrices, values: Array, pending: NDArray[np.bool_], batch: int) -> NDArray[np.int64]:
    """The at most `batch` pending rows that `values` violates most, by more than 1e-7, worst first."""
    activity = flat.rows @ values
    violation = np.maximum(flat.row_lower - activity, activity - flat.row_upper)
    violation = np.where(pending, violation, 0.0)
    ranked = np.argsort(-violation, kind="stable")[:batch]
    return np.asarray(ranked[violation[ranked] > FEASIBILITY], dtype=np.int64)


def _part(flat: Matrices, rows: NDArray[np.int64]) -> Matrices:
    sides = flat.row_lower[rows], flat.row_upper[rows]
    return replace(flat, rows=flat.rows[rows], row_lower=sides[0], row_upper=sides[1])


def append_rows(engine: Any, flat: Matrices, rows: NDArray[np.int64]) -> None:
    """Hand further rows of a program over to an engine that has its columns."""
    part = _part(flat, rows)
    matrix = part.rows
    starts, indices = matrix.indptr[:-1].astype(np.int32), matrix.indices.astype(np.int32)
    engine.addRows(len(rows), part.row_lower, part.row_upper, matrix.nnz, starts, indices, matrix.data)


def _linear(flat: Matrices) -> Matrices:
    needs = required_features(flat)
    if needs:
        raise SolverCapabilityError(
            f"an incremental solve takes linear programs, not {', '.join(sorted(needs))}: use `solve`"
        )
    return flat
