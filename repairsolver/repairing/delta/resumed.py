r"""Least changes one after the other, each solved from where the one before ended.

Rounds, margins and nodes of a repair share most of their rows. Here all of them stay in one program,
which a solver's session keeps with its basis: rows that a call does not ask for lose their right-hand
side, new ones are appended, bounds and prices change. Rows are told apart by their coefficients, so that
it does not matter where they come from. Columns and units stay, too, until new unknowns are touched, or
what is missing has become so much smaller (or larger) that the solver's tolerance would show; then the
program is begun anew, with the rows of the call alone.

Answers are those of `reduced.least_change`, up to ties between equally small changes.

Source: Bertsimas and Tsitsiklis, Introduction to linear optimization, 1997, section 5.1 (an optimal basis
stays dual feasible when rows are added or right-hand sides change).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from repairsolver.repairing.delta.objective import Objective
from repairsolver.repairing.delta.reduced import Frame, Least, Rows, least_change
from repairsolver.solvers import Feature, Solver, Watch, get_solver, session

SMALLER, LARGER = 3.0, 300.0
"""By how much what is missing may fall below or rise above a program's scale."""

PROGRAMS = 4
"""Programs of different scales that are kept."""

IDLE, FEW = 3, 500
"""A program is begun anew where it has so many times more rows than are asked for, and more than a few."""

Ids = NDArray[np.int64]
Point = tuple[str, int]


@dataclass(slots=True, eq=False)
class Resumed:
    """The programs of one repair.

    Args:
        solver: by name.
        watch: see `solvers.session`.
    """

    solver: str
    seed: int = 0
    watch: Watch | None = None
    programs: list[_Kept] = field(default_factory=list)

    def suits(self, objective: Objective) -> bool:
        """Whether the solver goes on from a program, and the objective is a norm without squares or moves."""
        plain = objective.moves is None and objective.squares is None and objective.norm != "l2"
        return plain and Feature.ROWS_ADDED in get_solver(self.solver).features

    def solve(self, rows: Rows, objective: Objective, scale: float, seconds: float | None) -> Least:
        """As `reduced.least_change`."""
        fits = [
            kept
            for kept in self.programs
            if kept.norm == objective.norm and kept.scale / SMALLER <= scale <= kept.scale * LARGER
        ]
        if fits:
            kept = max(fits, key=lambda kept: kept.scale)
            self.programs.remove(kept)
        else:
            kept = _Kept(session(self.solver, self.watch), objective.norm, scale)
        self.programs = [*self.programs[1 - PROGRAMS :], kept]
        return kept.solve(rows, objective, scale, seconds, self.seed)


def without_basis(name: str) -> tuple[str, ...]:
    """A remark where the programs of a repair cannot go on from each other's basis."""
    solver = get_solver(name)
    if Feature.LAST_BASIS in solver.features:
        return ()
    kept = "constraints" if Feature.ROWS_ADDED in solver.features else "nothing"
    return (
        f"solver {name!r} has no basis to go on from: it keeps {kept} between the rounds and solves every "
        "linear program anew; 'highs' and 'gurobi' go on from the last one",
    )


@dataclass(slots=True, eq=False)
class _Kept:
    """One program: all rows that were asked for since it was begun.

    Args:
        places: of rows by content and point, in the order in which they came.
        points: soft points, in the order in which they came.
    """

    solver: Solver
    norm: str
    scale: float
    frame: Frame | None = None
    places: dict[tuple[bytes, bytes, Point | None], int] = field(default_factory=dict)
    points: dict[Point, int] = field(default_factory=dict)
    matrix: sparse.csr_array | None = None
    owner: Ids = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def solve(
        self, rows: Rows, objective: Objective, scale: float, seconds: float | None, seed: int
    ) -> Least:
        at = self._held(rows)
        if self.frame is None or self._outgrown(rows):
            self._begin(scale)
            at = self._held(rows)
            assert self.matrix is not None
            self.frame = Frame.of(self.matrix, objective, scale)
        assert self.matrix is not None
        missing = np.full(len(self.places), -np.inf)
        np.maximum.at(missing, at, rows.missing)
        penalty = np.zeros(len(self.points))
        penalty[[self.points[point] for point in rows.points]] = rows.penalty
        whole = Rows(self.matrix, missing, self.owner, penalty, tuple(self.points))
        return least_change(
            whole, objective, scale=scale, solver=self.solver, seconds=seconds, seed=seed, frame=self.frame
        )

    def _outgrown(self, rows: Rows) -> bool:
        """Whether there are unknowns without a column, or far more rows than are asked for."""
        assert self.frame is not None
        idle = len(self.places) > max(FEW, IDLE * len(rows.missing))
        return idle or not np.isin(rows.matrix.indices, self.frame.touched).all()

    def _begin(self, scale: float) -> None:
        self.scale, self.matrix = scale, None
        self.places, self.points = {}, {}
        self.owner = np.zeros(0, dtype=np.int64)

    def _held(self, rows: Rows) -> Ids:
        """Where the rows stand; new ones are appended."""
        matrix, fresh, at = rows.matrix, [], np.zeros(len(rows.missing), dtype=np.int64)
        owners = []
        for i in range(len(at)):
            part = slice(matrix.indptr[i], matrix.indptr[i + 1])
            point = rows.points[rows.owner[i]] if rows.owner[i] >= 0 else None
            key = matrix.indices[part].tobytes(), matrix.data[part].tobytes(), point
            if key not in self.places:
                self.places[key] = len(self.places)
                fresh.append(i)
                owners.append(-1 if point is None else self.points.setdefault(point, len(self.points)))
            at[i] = self.places[key]
        if fresh:
            old = [] if self.matrix is None else [self.matrix]
            self.matrix = sparse.csr_array(sparse.vstack([*old, matrix[fresh]], format="csr"))
            self.owner = np.concatenate([self.owner, np.array(owners, dtype=np.int64)])
        return at
