"""Gurobi through its matrix interface, aware of the size limits of the licence that is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from layerwise.program import Array, Matrices, Program
from repairsolver.errors import LicenseError, SolverError
from repairsolver.solvers.bounding import lagrangian_bound
from repairsolver.solvers.driver import Answer, drive
from repairsolver.solvers.loading import installed, load_package
from repairsolver.solvers.protocol import Availability, Feature, Solution, SolutionStatus

Options = Mapping[str, float | int | str | bool]

LIMIT_LINEAR = 2000
"""Columns, and rows, that the licence bundled with gurobipy allows."""

LIMIT_QUADRATIC = 200
"""Columns that it allows as soon as the objective has a quadratic term."""

_TOO_LARGE = 10010
_STATUS = {
    2: SolutionStatus.OPTIMAL,
    3: SolutionStatus.INFEASIBLE,
    5: SolutionStatus.UNBOUNDED,
    7: SolutionStatus.TIMEOUT,  # iteration limit
    8: SolutionStatus.TIMEOUT,  # node limit
    9: SolutionStatus.TIMEOUT,
    10: SolutionStatus.TIMEOUT,  # solution limit
    16: SolutionStatus.TIMEOUT,  # work limit
    17: SolutionStatus.TIMEOUT,  # memory limit
}
_INFEASIBLE_OR_UNBOUNDED = 4


@dataclass(frozen=True, slots=True)
class Gurobi:
    """Gurobi through gurobipy; options are Gurobi's parameters; a start is used by integer programs."""

    name: str = "gurobi"
    features: frozenset[Feature] = frozenset(
        {
            Feature.INTEGERS,
            Feature.QUADRATIC,
            Feature.INTEGERS_AND_QUADRATIC,
            Feature.DUAL_BOUND,
            Feature.WARM_START,
        }
    )

    def availability(self) -> Availability:
        """Installed or not; the licence is told from where a licence file would be, nothing is started."""
        found = installed("gurobipy", "gurobipy")
        if not found.usable:
            return found
        limits = f"size-limited licence: {LIMIT_LINEAR} columns and rows, {LIMIT_QUADRATIC} if quadratic"
        return Availability(True, found.version, "licence file found" if _licence_file() else limits)

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
        """Solve a program; see `Solver.solve`.

        Raises:
            LicenseError: the licence does not allow a program of this size, or there is none.
        """
        settings: dict[str, Any] = {"MIPGap": gap, "MIPGapAbs": 1e-9, "Seed": seed % 2_000_000_000}
        settings |= {"Threads": 1, "FeasibilityTol": 1e-7, "IntFeasTol": 1e-7}
        settings |= {} if seconds is None else {"TimeLimit": seconds}

        def compute(flat: Matrices) -> Answer:
            refuse_oversized(flat)
            with _model({**settings, **(options or {})}) as model:
                return _run(model, flat, start)

        return drive(self, program, compute)


def refuse_oversized(flat: Matrices) -> None:
    """Raise `LicenseError` where the program exceeds the size-limited licence and there is no other."""
    columns, rows = len(flat.cost), sum(len(side) for _, side, _, _ in _one_sided(flat))
    allowed = LIMIT_QUADRATIC if flat.quadratic.any() else LIMIT_LINEAR
    if columns <= allowed and rows <= LIMIT_LINEAR:
        return
    if licence_is_limited():
        raise LicenseError(
            f"this program has {columns} columns and {rows} one-sided rows; the size-limited Gurobi licence "
            f"allows {allowed} columns and {LIMIT_LINEAR} rows: use solver 'highs', or install a full licence"
        )


@cache
def licence_is_limited() -> bool:
    """Whether the licence rejects one column more than the bundled one allows; asked once, silently."""
    gurobipy = load_package("gurobipy", "gurobipy")
    with _model({}) as model:
        model.addMVar(LIMIT_LINEAR + 1)
        try:
            model.optimize()
        except gurobipy.GurobiError as error:
            if error.errno == _TOO_LARGE:
                return True
            raise SolverError(f"Gurobi's licence could not be probed: {error}") from error
    return False


def _licence_file() -> bool:
    named = os.environ.get("GRB_LICENSE_FILE")
    home = [Path.home() / "gurobi.lic", Path("/opt/gurobi/gurobi.lic"), Path("/Library/gurobi/gurobi.lic")]
    return any(path.is_file() for path in ([Path(named)] if named else home))


@contextmanager
def _model(settings: Mapping[str, Any]) -> Iterator[Any]:
    """A silent model: no banner on stdout, no gurobi.log."""
    gurobipy = load_package("gurobipy", "gurobipy")
    try:
        environment = gurobipy.Env(params={"OutputFlag": 0, "LogToConsole": 0, "LogFile": ""})
    except gurobipy.GurobiError as error:
        raise LicenseError(f"Gurobi does not start: {error}; solver 'highs' needs no licence") from error
    with environment, gurobipy.Model(env=environment) as model:
        wrong = [key for key, value in settings.items() if not _set(gurobipy, model, key, value)]
        if wrong:
            raise SolverError(
                f"Gurobi does not know these options, or refuses their values: {', '.join(wrong)}"
            )
        yield model


def _set(gurobipy: Any, model: Any, key: str, value: object) -> bool:
    try:
        model.setParam(key, value)
    except (gurobipy.GurobiError, TypeError, ValueError):
        return False
    return True


def _one_sided(flat: Matrices) -> list[tuple[str, Array, NDArray[np.int64], sparse.csr_array]]:
    """The rows as blocks (sense, right-hand side, row numbers, matrix); a range row becomes two."""
    equal = flat.row_lower == flat.row_upper
    picks = (
        ("=", flat.row_lower, equal),
        (">", flat.row_lower, ~equal & np.isfinite(flat.row_lower)),
        ("<", flat.row_upper, ~equal & np.isfinite(flat.row_upper)),
    )
    return [
        (sense, side[pick], np.flatnonzero(pick), flat.rows[pick])
        for sense, side, pick in picks
        if pick.any()
    ]


def _run(model: Any, flat: Matrices, start: Array | None) -> Answer:
    gurobipy = load_package("gurobipy", "gurobipy")
    kinds = np.where(flat.integer, "I", "C")
    unknowns = model.addMVar(len(flat.cost), lb=flat.lower, ub=flat.upper, vtype=kinds)
    blocks = [
        (rows, model.addMConstr(matrix, unknowns, sense, side))
        for sense, side, rows, matrix in _one_sided(flat)
    ]
    curvature = sparse.diags_array(0.5 * flat.quadratic, format="csr") if flat.quadratic.any() else None
    model.setMObjective(curvature, flat.cost, flat.offset, None, None, unknowns)
    if start is not None and flat.integer.any():
        unknowns.Start = start
    try:
        model.optimize()
    except gurobipy.GurobiError as error:
        kind = LicenseError if error.errno == _TOO_LARGE else SolverError
        raise kind(f"Gurobi failed: {error}; solver 'highs' needs no licence") from error
    return _read(model, flat, unknowns, blocks)


def _read(model: Any, flat: Matrices, unknowns: Any, blocks: list[tuple[NDArray[np.int64], Any]]) -> Answer:
    word = model.Status
    if word == _INFEASIBLE_OR_UNBOUNDED or (word == 5 and flat.integer.any()):
        model.setObjective(0.0)
        model.optimize()
        solved = {2: SolutionStatus.UNBOUNDED}
        return Answer(solved.get(model.Status, _STATUS.get(model.Status, SolutionStatus.TIMEOUT)))
    status = _STATUS.get(word)
    if status is None:
        raise SolverError(f"Gurobi ended with status {word}: scale the program, or use solver 'highs'")
    if status in (SolutionStatus.INFEASIBLE, SolutionStatus.UNBOUNDED):
        return Answer(status)
    if status is SolutionStatus.TIMEOUT:
        return _interrupted(model, flat, unknowns)
    values = np.asarray(unknowns.X, dtype=np.float64)
    if flat.integer.any():
        return Answer(status, values, float(model.ObjBound))
    multipliers = np.zeros(flat.rows.shape[0])
    for rows, constraints in blocks:
        multipliers[rows] += constraints.Pi
    return Answer(status, values, lagrangian_bound(flat, multipliers, values))


def _interrupted(model: Any, flat: Matrices, unknowns: Any) -> Answer:
    if not flat.integer.any():
        return Answer(SolutionStatus.TIMEOUT)
    bound = float(model.ObjBound) if abs(model.ObjBound) < 1e100 else None
    if model.SolCount == 0:
        return Answer(SolutionStatus.TIMEOUT, bound=bound)
    return Answer(SolutionStatus.FEASIBLE, np.asarray(unknowns.X, dtype=np.float64), bound)
