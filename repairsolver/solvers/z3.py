"""z3 in exact rational arithmetic: the small oracle that the others are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerwise.program import Array, Matrices, Program
from repairsolver.errors import SolverError
from repairsolver.solvers.driver import Answer, drive, refuse_unsupported
from repairsolver.solvers.loading import installed, load_package
from repairsolver.solvers.protocol import Availability, Feature, Solution, SolutionStatus, Solver, Watch

Options = Mapping[str, float | int | str | bool]

UNLIMITED = 2**32 - 1
"""Milliseconds that z3 takes for no limit."""


@dataclass(frozen=True, slots=True)
class ExactAnswer:
    """An optimum in rationals: no rounding between the program's float64 numbers and these."""

    status: SolutionStatus
    values: tuple[Fraction, ...] | None = None
    objective: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Z3:
    """z3's optimiser on linear programs with or without integers, exactly; for some tens of columns.

    It takes no options, and is deterministic: the seed changes nothing.
    """

    name: str = "z3"
    features: frozenset[Feature] = frozenset(
        {Feature.INTEGERS, Feature.EXACT, Feature.DUAL_BOUND, Feature.ROWS_ADDED}
    )

    def availability(self) -> Availability:
        return installed("z3", "z3-solver")

    def solve(
        self,
        program: Program,
        *,
        seconds: float | None = None,
        gap: float = 0.0,
        seed: int = 0,
        start: Array | None = None,
        options: Options | None = None,
    ) -> Solution:
        """Solve a program; see `Solver.solve`. `solve_exact` gives the rationals themselves."""
        refuse_options(options)
        return drive(self, program, lambda flat: rounded(_optimum(flat, seconds)))

    def session(self, watch: Watch | None = None) -> Solver:
        """z3 with a memory; see `Resuming.session`. It tells no progress: `watch` is not called."""
        from repairsolver.solvers.z3_session import Z3Session  # which is built on this module

        return Z3Session()


def refuse_options(options: Options | None) -> None:
    """Raise `SolverError` where options are given."""
    if options:
        raise SolverError(f"solver 'z3' takes no options, got {', '.join(options)}")


def solve_exact(program: Program, *, seconds: float | None = None) -> ExactAnswer:
    """The optimum of a linear program over the rationals, every float64 coefficient taken exactly.

    Raises:
        SolverCapabilityError: the objective is quadratic.
    """
    flat = program.matrices()
    refuse_unsupported(Z3(), flat)
    return _optimum(flat, seconds)


def _optimum(flat: Matrices, seconds: float | None) -> ExactAnswer:
    z3 = load_package("z3", "z3-solver")
    context = z3.Context()
    unknowns = new_unknowns(z3, flat.integer, 0, context)
    optimiser = z3.Optimize(ctx=context)
    limit_time(optimiser, seconds)
    matrix = flat.rows
    for j, unknown in enumerate(unknowns):
        _require(z3, optimiser, unknown, float(flat.lower[j]), float(flat.upper[j]), context)
    for i in range(matrix.shape[0]):
        entries = slice(matrix.indptr[i], matrix.indptr[i + 1])
        total = combination(z3, matrix.data[entries], [unknowns[j] for j in matrix.indices[entries]], context)
        _require(z3, optimiser, total, float(flat.row_lower[i]), float(flat.row_upper[i]), context)
    goal = optimiser.minimize(combination(z3, flat.cost, unknowns, context))
    return read_optimum(z3, optimiser, goal, unknowns, flat)


def new_unknowns(z3: Any, integer: NDArray[np.bool_], known: int, context: Any) -> list[Any]:
    """z3's variables of the columns from number `known` on."""
    kinds = [z3.Int if whole else z3.Real for whole in integer[known:].tolist()]
    return [kind(f"v{j}", ctx=context) for j, kind in enumerate(kinds, known)]


def limit_time(optimiser: Any, seconds: float | None) -> None:
    """Limit the next check, or lift the limit."""
    optimiser.set("timeout", UNLIMITED if seconds is None else max(1, min(int(seconds * 1000), UNLIMITED)))


def read_optimum(z3: Any, optimiser: Any, goal: Any, unknowns: list[Any], flat: Matrices) -> ExactAnswer:
    """Check, and read the optimum of `goal` where there is one."""
    outcome = optimiser.check()
    if outcome == z3.unknown:
        return ExactAnswer(SolutionStatus.TIMEOUT)
    if outcome == z3.unsat:
        return ExactAnswer(SolutionStatus.INFEASIBLE)
    if not isinstance(goal.value(), z3.RatNumRef | z3.IntNumRef):  # -oo
        return ExactAnswer(SolutionStatus.UNBOUNDED)
    model = optimiser.model()
    values = tuple(_fraction(model.eval(unknown, model_completion=True)) for unknown in unknowns)
    costs = [Fraction(cost) for cost in flat.cost.tolist()]
    objective = sum((c * v for c, v in zip(costs, values, strict=True)), Fraction(flat.offset))
    if objective != _fraction(goal.value()) + Fraction(flat.offset):
        raise SolverError("z3's model does not attain the optimum that z3 reports: take another solver")
    return ExactAnswer(SolutionStatus.OPTIMAL, values, objective)


def rounded(exact: ExactAnswer) -> Answer:
    """The nearest float64 numbers, for the driver to check."""
    if exact.values is None or exact.objective is None:
        return Answer(exact.status)
    values = np.array([float(value) for value in exact.values], dtype=np.float64)
    return Answer(exact.status, values, float(exact.objective))


def rational(z3: Any, number: float, context: Any) -> Any:
    """A float64 number exactly."""
    return z3.RatVal(*Fraction(number).as_integer_ratio(), ctx=context)


def combination(z3: Any, factors: Array, unknowns: list[Any], context: Any) -> Any:
    """The sum of factors times unknowns, exactly."""
    pairs = [(factor, unknown) for factor, unknown in zip(factors.tolist(), unknowns, strict=True) if factor]
    terms = [
        rational(z3, factor, context) * z3.ToReal(v) if v.is_int() else rational(z3, factor, context) * v
        for factor, v in pairs
    ]
    return z3.Sum(terms) if terms else rational(z3, 0.0, context)


def _require(z3: Any, optimiser: Any, term: Any, lower: float, upper: float, context: Any) -> None:
    if np.isfinite(lower):
        optimiser.add(term >= rational(z3, lower, context))
    if np.isfinite(upper):
        optimiser.add(term <= rational(z3, upper, context))


def _fraction(number: Any) -> Fraction:
    if number.is_int():
        return Fraction(number.as_long())
    return Fraction(number.numerator_as_long(), number.denominator_as_long())
