r"""z3 with its terms and constraints kept between programs that grow out of each other.

Constraints stand on a stack of levels, one for each program that brought new ones. A program that lacks some
of them (a row has lost its side, a bound has moved) takes the levels off from the first of these on; what it
has and the stack has not becomes a new level. Where nothing was taken off and the costs are the same, the
program is the last one with further constraints, so that its optimum is at least the last one, exactly:

$$ F_{new} \subseteq F_{old} \;\Rightarrow\; \min_{F_{new}} c^\top v \ge \min_{F_{old}} c^\top v, $$

which z3 is told as a constraint more.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from layerwise.program import Array, Matrices, Program
from repairsolver.solvers.driver import drive_warm
from repairsolver.solvers.growth import extends
from repairsolver.solvers.loading import load_package
from repairsolver.solvers.protocol import Availability, Solution, SolutionStatus
from repairsolver.solvers.z3 import (
    Z3,
    ExactAnswer,
    combination,
    limit_time,
    new_unknowns,
    rational,
    read_optimum,
    refuse_options,
    rounded,
)

Kind = Literal["column", "row"]
Sense = Literal["<", ">"]

Side = tuple[Kind, int, Sense, float]
"""A constraint: of a column or a row, its number, which side, and the number there."""


class Z3Session:
    """z3 with a memory: a `Solver` that keeps its terms and constraints; see `Resuming.session`.

    Attributes:
        resumed: how many programs were solved from where the one before had ended.
    """

    name = "z3"
    features = Z3().features

    def __init__(self) -> None:
        self.resumed = 0
        self._context: Any = None
        self._optimiser: Any = None
        self._unknowns: list[Any] = []
        self._totals: list[Any] = []
        self._levels: list[dict[Side, None]] = []
        self._held: Matrices | None = None
        self._least: Fraction | None = None

    def availability(self) -> Availability:
        return Z3().availability()

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
        """Solve a program; see `Solver.solve`."""
        refuse_options(options)
        return drive_warm(self, program, lambda flat: rounded(self._compute(flat, seconds)))

    def forget(self) -> None:
        """Solve the next program from scratch."""
        self._held = None

    def _compute(self, flat: Matrices, seconds: float | None) -> ExactAnswer:
        z3, last = load_package("z3", "z3-solver"), self._held
        self._held = None  # until this program is on the stack as a whole
        if last is not None and extends(flat, last):
            self.resumed += 1
        else:
            self._begin(z3)
            last = None
        self._extend(z3, flat)
        grown = self._restack(z3, flat)
        optimiser, cost = self._optimiser, combination(z3, flat.cost, self._unknowns, self._context)
        limit_time(optimiser, seconds)
        optimiser.push()
        if grown and last is not None and self._least is not None and _same_cost(flat, last):
            optimiser.add(cost >= z3.RatVal(*self._least.as_integer_ratio(), ctx=self._context))
        exact = read_optimum(z3, optimiser, optimiser.minimize(cost), self._unknowns, flat)
        optimiser.pop()
        if exact.status is not SolutionStatus.TIMEOUT:
            self._held = flat
        self._least = None if exact.objective is None else exact.objective - Fraction(flat.offset)
        return exact

    def _begin(self, z3: Any) -> None:
        self._context = z3.Context()
        self._optimiser = z3.Optimize(ctx=self._context)
        self._unknowns, self._totals, self._levels, self._least = [], [], [], None

    def _extend(self, z3: Any, flat: Matrices) -> None:
        """Make the terms of columns and rows that are new."""
        matrix = flat.rows
        self._unknowns += new_unknowns(z3, flat.integer, len(self._unknowns), self._context)
        for i in range(len(self._totals), matrix.shape[0]):
            entries = slice(matrix.indptr[i], matrix.indptr[i + 1])
            terms = [self._unknowns[j] for j in matrix.indices[entries]]
            self._totals.append(combination(z3, matrix.data[entries], terms, self._context))

    def _restack(self, z3: Any, flat: Matrices) -> bool:
        """Bring the stack to the program's constraints; whether none had to be taken off."""
        wanted = dict.fromkeys(_sides(flat))
        kept = next((k for k, level in enumerate(self._levels) if level.keys() - wanted.keys()), None)
        if kept is not None:
            for _ in self._levels[kept:]:
                self._optimiser.pop()
            del self._levels[kept:]
        fresh = {side: None for side in wanted if not any(side in level for level in self._levels)}
        if fresh:
            self._optimiser.push()
            self._levels.append(fresh)
            for kind, place, sense, number in fresh:
                term = (self._unknowns if kind == "column" else self._totals)[place]
                side = rational(z3, number, self._context)
                self._optimiser.add(term >= side if sense == ">" else term <= side)
        return kept is None


def _sides(flat: Matrices) -> list[Side]:
    """All finite sides of a program."""
    blocks: tuple[tuple[Kind, Sense, Array], ...] = (
        ("column", ">", flat.lower),
        ("column", "<", flat.upper),
        ("row", ">", flat.row_lower),
        ("row", "<", flat.row_upper),
    )
    return [
        (kind, int(i), sense, float(numbers[i]))
        for kind, sense, numbers in blocks
        for i in np.flatnonzero(np.isfinite(numbers))
    ]


def _same_cost(flat: Matrices, last: Matrices) -> bool:
    """Whether columns and costs are the last ones."""
    return len(flat.cost) == len(last.cost) and bool(np.array_equal(flat.cost, last.cost))
