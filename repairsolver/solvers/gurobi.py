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
from repairsolver.solvers.protocol import Availability, Feature, Solution, SolutionStatus, Solver, Watch

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
    11: SolutionStatus.TIMEOUT,  # ended by a watch
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
            Feature.ROWS_ADDED,
            Feature.LAST_BASIS,
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

        def compute(flat: Matrices) -> Answer:
            refuse_oversized(flat)
            with new_model(settings_of(seconds, gap, seed, options)) as model:
                unknowns, blocks = build(model, flat)
                if start is not None and flat.integer.any():
                    unknowns.Start = start
                return run(model, flat, unknowns, blocks)

        return drive(self, program, compute)

    def session(self, watch: Watch | None = None) -> Solver:
        """Gurobi with a memory; see `Resuming.session`."""
        from repairsolver.solvers.gurobi_session import GurobiSession  # which is built on this module

        return GurobiSession(watch)


def settings_of(seconds: float | None, gap: float, seed: int, options: Options | None) -> dict[str, Any]:
    """Gurobi's parameters for one solve."""
    settings: dict[str, Any] = {"MIPGap": gap, "MIPGapAbs": 1e-9, "Seed": seed % 2_000_000_000}
    settings |= {"Threads": 1, "FeasibilityTol": 1e-7, "IntFeasTol": 1e-7}
    return settings | {"TimeLimit": np.inf if seconds is None else max(seconds, 0.0)} | dict(options or {})


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
    with new_model({}) as model:
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
def new_model(settings: Mapping[str, Any]) -> Iterator[Any]:
    """A silent model: no banner on stdout, no gurobi.log."""
    gurobipy = load_package("gurobipy", "gurobipy")
    try:
        environment = gurobipy.Env(params={"OutputFlag": 0, "LogToConsole": 0, "LogFile": ""})
    except gurobipy.GurobiError as error:
        raise LicenseError(f"Gurobi does not start: {error}; solver 'highs' needs no licence") from error
    with environment, gurobipy.Model(env=environment) as model:
        set_parameters(model, settings)
        yield model


def set_parameters(model: Any, settings: Mapping[str, Any]) -> None:
    """Set Gurobi's parameters; an unknown one raises."""
    gurobipy = load_package("gurobipy", "gurobipy")
    wrong = [key for key, value in settings.items() if not _set(gurobipy, model, key, value)]
    if wrong:
        raise SolverError(f"Gurobi does not know these options, or refuses their values: {', '.join(wrong)}")


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


Blocks = list[tuple[NDArray[np.int64], Any]]
"""Row numbers and Gurobi's constraints of them."""


def build(model: Any, flat: Matrices) -> tuple[Any, Blocks]:
    """Put a program into an empty model; returns its unknowns and rows."""
    kinds = np.where(flat.integer, "I", "C")
    unknowns = model.addMVar(len(flat.cost), lb=flat.lower, ub=flat.upper, vtype=kinds)
    blocks = [
        (rows, model.addMConstr(matrix, unknowns, sense, side))
        for sense, side, rows, matrix in _one_sided(flat)
    ]
    set_objective(model, flat, unknowns)
    return unknowns, blocks


def set_objective(model: Any, flat: Matrices, unknowns: Any) -> None:
    curvature = sparse.diags_array(0.5 * flat.quadratic, format="csr") if flat.quadratic.any() else None
    model.setMObjective(curvature, flat.cost, flat.offset, None, None, unknowns)


def run(model: Any, flat: Matrices, unknowns: Any, blocks: Blocks, callback: Any = None) -> Answer:
    """Optimise the model and read the answer."""
    gurobipy = load_package("gurobipy", "gurobipy")
    try:
        model.optimize(callback)
    except gurobipy.GurobiError as error:
        kind = LicenseError if error.errno == _TOO_LARGE else SolverError
        raise kind(f"Gurobi failed: {error}; solver 'highs' needs no licence") from error
    return _read(model, flat, unknowns, blocks)


def _read(model: Any, flat: Matrices, unknowns: Any, blocks: Blocks) -> Answer:
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
