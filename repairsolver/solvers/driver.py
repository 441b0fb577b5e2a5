"""What happens around every solver: refuse what it cannot do, settle the trivial, check the answer.

A solver computes an `Answer` from flat arrays; `drive` turns it into a `Solution` whose values satisfy
the program, or raises.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from layerwise.program import Array, Matrices, Program
from repairsolver.errors import SolverCapabilityError, SolverError
from repairsolver.solvers.bounding import minimisers
from repairsolver.solvers.protocol import Feature, Solution, SolutionStatus, Solver

TOLERANCE = 1e-6
"""Largest violation that a solution may have: of a column's bound or integrality absolute, of a row
relative to max(1, its largest term |a_ij v_j|), which is where float64 rounding enters."""

BOUND_TOLERANCE = 1e-4
"""A dual bound above the objective by more than this (relative) contradicts the solution."""

_INTEGRAL_BOUND = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a solver says, not yet checked; the fields of `Solution` of the same names."""

    status: SolutionStatus
    values: Array | None = None
    bound: float | None = None


class Warm(Solver, Protocol):
    """A solver that keeps the last program; `resumed` counts those that went on from it."""

    resumed: int

    def forget(self) -> None:
        """Solve the next program from scratch."""


def required_features(flat: Matrices) -> frozenset[Feature]:
    """What a program needs of its solver, read off its arrays."""
    integers, quadratic = bool(flat.integer.any()), bool((flat.quadratic != 0).any())
    needs = {Feature.INTEGERS: integers, Feature.QUADRATIC: quadratic}
    needs[Feature.INTEGERS_AND_QUADRATIC] = integers and quadratic
    return frozenset(feature for feature, needed in needs.items() if needed)


def refuse_unsupported(solver: Solver, flat: Matrices) -> None:
    """Raise `SolverCapabilityError` where a program needs what the solver lacks, naming those who can."""
    missing = required_features(flat) - solver.features
    if not missing:
        return
    from repairsolver.solvers.registry import capable_solvers  # the registry loads this module's users

    able = ", ".join(capable_solvers(required_features(flat))) or "none of the registered ones"
    raise SolverCapabilityError(
        f"solver {solver.name!r} cannot treat this program: it needs {', '.join(sorted(missing))}; "
        f"solvers that can: {able}"
    )


def drive(solver: Solver, program: Program, compute: Callable[[Matrices], Answer]) -> Solution:
    """Run one solve from refusal to checked solution.

    Raises:
        SolverCapabilityError: the program needs a feature the solver lacks.
        SolverError: the program has non-finite coefficients, or the answer does not satisfy it.
    """
    started = time.perf_counter()
    flat = tidy(program.matrices())
    refuse_unsupported(solver, flat)
    answer = settle(flat) or compute(flat)
    return checked(solver.name, program, flat, answer, started)


def drive_warm(solver: Warm, program: Program, compute: Callable[[Matrices], Answer]) -> Solution:
    """`drive` for a solver with a memory: what fails from where the last program ended is tried from scratch.

    Raises:
        SolverCapabilityError, SolverError: as `drive`, of the program solved from scratch.
    """
    before = solver.resumed
    try:
        return drive(solver, program, compute)
    except SolverError:
        solver.forget()
        if solver.resumed == before:
            raise
    return drive(solver, program, compute)


def tidy(flat: Matrices) -> Matrices:
    """Integer columns get integer bounds (within 1e-9), matrix entries are unique and not zero."""
    rows = flat.rows
    if not rows.has_canonical_format or not rows.data.all():
        rows = rows.copy()
        rows.sum_duplicates()
        rows.eliminate_zeros()
    numbers = (rows.data, flat.cost, flat.quadratic, np.array(flat.offset))
    if not all(np.isfinite(block).all() for block in numbers):
        raise SolverError("the program has a coefficient that is infinite or NaN: check the encoded arrays")
    lower = np.where(flat.integer, np.ceil(flat.lower - _INTEGRAL_BOUND), flat.lower)
    upper = np.where(flat.integer, np.floor(flat.upper + _INTEGRAL_BOUND), flat.upper)
    return replace(flat, rows=rows, lower=lower, upper=upper)


def settle(flat: Matrices) -> Answer | None:
    """The answer of a program that needs no solver: contradictory bounds, or no rows with entries."""
    if (flat.lower > flat.upper).any() or (flat.row_lower > flat.row_upper).any():
        return Answer(SolutionStatus.INFEASIBLE)
    if np.isposinf(flat.row_lower).any() or np.isneginf(flat.row_upper).any():
        return Answer(SolutionStatus.INFEASIBLE)
    empty = np.diff(flat.rows.indptr) == 0
    if (flat.row_lower[empty] > TOLERANCE).any() or (flat.row_upper[empty] < -TOLERANCE).any():
        return Answer(SolutionStatus.INFEASIBLE)
    return None if flat.rows.nnz else _separable(flat)


def _separable(flat: Matrices) -> Answer:
    """The optimum column by column; a parabola's best integer is the one nearest to its lowest point."""
    best = minimisers(flat, flat.cost)
    if not np.isfinite(best).all():
        return Answer(SolutionStatus.UNBOUNDED)
    values = np.where(flat.integer, np.round(best), best)
    value = float(flat.cost @ values + 0.5 * flat.quadratic @ values**2 + flat.offset)
    return Answer(SolutionStatus.OPTIMAL, values, value)


def checked(name: str, program: Program, flat: Matrices, answer: Answer, started: float) -> Solution:
    """The answer as a `Solution`: integers rounded and bounds met exactly where the rows allow it.

    Raises:
        SolverError: the values violate the program by more than `TOLERANCE`, or the bound the objective.
    """
    if answer.values is None:
        elapsed = time.perf_counter() - started
        return Solution(answer.status, None, None, answer.bound, elapsed, name)
    values = _cleaned(flat, answer.values)
    excess = _excess(flat, values)
    if not excess <= TOLERANCE:  # also false for NaN
        raise SolverError(
            f"solver {name!r} answered {answer.status} with a point that violates the program by "
            f"{excess:.3g} (allowed: {TOLERANCE:g}): tighten its tolerances or bounds, or take another solver"
        )
    objective = float(flat.cost @ values + 0.5 * flat.quadratic @ values**2 + flat.offset)
    bound = answer.bound
    if bound is not None:
        if bound > objective + BOUND_TOLERANCE * max(1.0, abs(objective)):
            raise SolverError(
                f"solver {name!r} claims the lower bound {bound:.9g}, but its own point has objective "
                f"{objective:.9g}: take another solver"
            )
        bound = min(bound, objective)
    elapsed = time.perf_counter() - started
    return Solution(answer.status, values, objective, bound, elapsed, name, program.violation(values))


def _cleaned(flat: Matrices, values: Array) -> Array:
    """The values rounded and clipped, unless this breaks a row that they satisfy."""
    rounded = np.where(flat.integer, np.round(values), values)
    clean = np.clip(rounded, flat.lower, flat.upper)
    return clean if _excess(flat, clean) <= max(TOLERANCE / 10, _excess(flat, values)) else values


def _excess(flat: Matrices, values: Array) -> float:
    """The largest violation, rows relative to their largest term; NaN values count as infinite."""
    if not np.isfinite(values).all():
        return float("inf")
    parts = (flat.lower - values, values - flat.upper, np.abs(values - np.round(values))[flat.integer])
    columns = max((float(part.max()) for part in parts if part.size), default=0.0)
    activity = flat.rows @ values
    over = np.maximum(flat.row_lower - activity, activity - flat.row_upper)
    broken = np.flatnonzero(over > TOLERANCE)
    if broken.size:
        terms = abs(flat.rows[broken] * values[None, :]).max(axis=1).toarray().ravel()
        over[broken] /= np.maximum(1.0, terms)
    return max(columns, float(over.max(initial=0.0)))
