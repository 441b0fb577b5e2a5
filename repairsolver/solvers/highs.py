"""HiGHS, the default: linear, mixed-integer and convex quadratic programs as sparse arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerwise.program import Array, Matrices, Program
from repairsolver.errors import SolverError
from repairsolver.solvers.bounding import lagrangian_bound
from repairsolver.solvers.driver import Answer, drive
from repairsolver.solvers.loading import installed, load_package
from repairsolver.solvers.protocol import (
    Availability,
    Feature,
    Progress,
    Solution,
    SolutionStatus,
    Solver,
    Watch,
)

Options = Mapping[str, float | int | str | bool]

FEASIBILITY = 1e-7
"""HiGHS's tolerance on rows, bounds and integrality, a tenth of what `drive` lets pass."""

_STATUS = {
    "kOptimal": SolutionStatus.OPTIMAL,
    "kModelEmpty": SolutionStatus.OPTIMAL,
    "kInfeasible": SolutionStatus.INFEASIBLE,
    "kUnbounded": SolutionStatus.UNBOUNDED,
    "kTimeLimit": SolutionStatus.TIMEOUT,
    "kIterationLimit": SolutionStatus.TIMEOUT,
    "kSolutionLimit": SolutionStatus.TIMEOUT,
    "kMemoryLimit": SolutionStatus.TIMEOUT,
    "kInterrupt": SolutionStatus.TIMEOUT,
}
_QUADRATIC_GAP = 1e-5


@dataclass(frozen=True, slots=True)
class Highs:
    """HiGHS through highspy.

    Options are HiGHS's own. Useful ones: `solver` ("simplex", "ipx", "pdlp"), `run_crossover` ("off"
    leaves an interior point: much faster on dense Linf programs), `presolve`, `threads` (1 unless given).
    A start is used by integer programs; linear programs are warm started by a session.
    """

    name: str = "highs"
    features: frozenset[Feature] = frozenset(
        {
            Feature.INTEGERS,
            Feature.QUADRATIC,
            Feature.DUAL_BOUND,
            Feature.WARM_START,
            Feature.ROWS_ADDED,
            Feature.LAST_BASIS,
        }
    )

    def availability(self) -> Availability:
        return installed("highspy", "highspy")

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
        """Solve a program; see `Solver.solve`."""

        def compute(flat: Matrices) -> Answer:
            engine = new_engine(seconds=seconds, gap=gap, seed=seed, options=options)
            pass_model(engine, flat)
            if start is not None and flat.integer.any():
                engine.setSolution(len(start), np.arange(len(start), dtype=np.int32), start)
            return run(engine, flat)

        return drive(self, program, compute)

    def session(self, watch: Watch | None = None) -> Solver:
        """HiGHS with a memory; see `Resuming.session`."""
        from repairsolver.solvers.highs_session import HighsSession  # which is built on this module

        return HighsSession(watch)


def new_engine(
    *, seconds: float | None = None, gap: float = 0.0, seed: int = 0, options: Options | None = None
) -> Any:
    """A silent HiGHS instance with our tolerances, one thread, and the given options on top."""
    highspy = load_package("highspy", "highspy")
    engine = highspy.Highs()
    engine.setOptionValue("output_flag", False)
    settings: dict[str, float | int | str | bool] = {
        "threads": 1,
        "random_seed": seed % 2**31,
        "mip_rel_gap": gap,
        "mip_abs_gap": 1e-9,
        "primal_feasibility_tolerance": FEASIBILITY,
        "mip_feasibility_tolerance": FEASIBILITY,
    }
    wrong = [
        key for key, value in {**settings, **(options or {})}.items() if not _set(engine, highspy, key, value)
    ]
    if wrong:
        raise SolverError(f"HiGHS does not know these options, or refuses their values: {', '.join(wrong)}")
    engine.resetGlobalScheduler(True)  # HiGHS refuses another number of threads than its last run had
    set_time_limit(engine, seconds)
    return engine


def set_time_limit(engine: Any, seconds: float | None) -> None:
    """Limit the next run, or lift the limit; HiGHS's own clock runs on over the runs of an engine."""
    engine.setOptionValue(
        "time_limit", np.inf if seconds is None else engine.getRunTime() + max(seconds, 0.0)
    )


def _set(engine: Any, highspy: Any, key: str, value: float | int | str | bool) -> bool:
    return bool(engine.setOptionValue(key, value) == highspy.HighsStatus.kOk)


def set_watch(engine: Any, watch: Watch, raised: list[BaseException]) -> None:
    """Call `watch` from the engine's searches over integers; what it raises ends them and is put by."""

    def called(event: Any) -> None:
        told = event.data_out
        best, bound = float(told.mip_primal_bound), float(told.mip_dual_bound)
        progress = Progress(
            float(told.running_time),
            best if np.isfinite(best) else None,
            bound if np.isfinite(bound) else None,
            int(told.mip_node_count),
        )
        try:
            stop = watch(progress)
        except BaseException as error:  # must not pass through HiGHS: raised again behind it
            raised.append(error)
            stop = True
        event.interrupt(stop)

    engine.cbMipInterrupt.subscribe(called)


def pass_model(engine: Any, flat: Matrices) -> None:
    """Hand the arrays over in one call, replacing whatever model the engine held."""
    highspy = load_package("highspy", "highspy")
    rows, width = flat.rows, len(flat.cost)
    curved = np.flatnonzero(flat.quadratic)
    starts = np.searchsorted(curved, np.arange(width + 1))
    status = engine.passModel(
        width,
        rows.shape[0],
        rows.nnz,
        len(curved),
        2,  # row-wise matrix
        1,  # triangular Hessian
        1,  # minimise
        flat.offset,
        flat.cost,
        flat.lower,
        flat.upper,
        flat.row_lower,
        flat.row_upper,
        rows.indptr.astype(np.int32),
        rows.indices.astype(np.int32),
        rows.data,
        starts.astype(np.int32),
        curved.astype(np.int32),
        flat.quadratic[curved],
        flat.integer.astype(np.int32),
    )
    if status == highspy.HighsStatus.kError:
        raise SolverError(
            f"HiGHS refuses the program of {width} columns and {rows.shape[0]} rows: look for coefficients "
            "above 1e15 or bounds that are not numbers"
        )


def run(engine: Any, flat: Matrices) -> Answer:
    """Run HiGHS on the model it holds and read the answer.

    Raises:
        SolverError: HiGHS ends in an error or cannot tell, or its quadratic optimum has a duality gap.
    """
    engine.run()
    word = engine.getModelStatus().name
    if word == "kUnboundedOrInfeasible" or (word == "kUnbounded" and flat.integer.any()):
        return _unbounded_or_infeasible(engine, flat)
    status = _STATUS.get(word)
    if status is None:
        raise SolverError(
            f"HiGHS ended with status {word[1:]}: scale the program, or give other options "
            "(`presolve`, `solver`, `run_crossover`) or another solver"
        )
    if status in (SolutionStatus.INFEASIBLE, SolutionStatus.UNBOUNDED):
        if flat.quadratic.any():
            confirm_quadratic(flat, status)
        return Answer(status)
    return _read(engine, flat, status)


def _read(engine: Any, flat: Matrices, status: SolutionStatus) -> Answer:
    info, point = engine.getInfo(), engine.getSolution()
    values = np.asarray(point.col_value, dtype=np.float64)
    multipliers = np.asarray(point.row_dual, dtype=np.float64)
    if flat.integer.any():
        bound = info.mip_dual_bound if np.isfinite(info.mip_dual_bound) else None
    else:
        known = point.dual_valid and len(multipliers) == flat.rows.shape[0]
        bound = lagrangian_bound(flat, multipliers, values) if known else None
    if status is SolutionStatus.TIMEOUT:
        usable = info.primal_solution_status == 2 and values.size == flat.cost.size
        return Answer(SolutionStatus.FEASIBLE, values, bound) if usable else Answer(status, bound=bound)
    if flat.quadratic.any():
        _check_quadratic(flat, values, bound)
    return Answer(status, values, bound)


def _check_quadratic(flat: Matrices, values: Array, bound: float | None) -> None:
    objective = float(flat.cost @ values + 0.5 * flat.quadratic @ values**2 + flat.offset)
    if bound is None or objective - bound > _QUADRATIC_GAP * max(1.0, abs(objective)):
        raise SolverError(
            f"HiGHS's quadratic solver claims the optimum {objective:.9g}, but its multipliers only prove "
            f"{bound}: use solver 'projection' (least squares with linear rows) or 'gurobi'"
        )


def confirm_quadratic(flat: Matrices, status: SolutionStatus) -> None:
    """Check the quadratic solver's claim by a linear program: it has called bounded programs unbounded.

    Infeasible means that the rows alone are; unbounded that some direction d of the recession cone has
    c d < 0 and d_j = 0 wherever q_j > 0.
    """
    plain = replace(flat, quadratic=np.zeros_like(flat.quadratic), offset=0.0)
    if status is SolutionStatus.INFEASIBLE:
        claim = replace(plain, cost=np.zeros_like(flat.cost))
    else:
        curved = flat.quadratic > 0
        claim = replace(
            plain,
            lower=np.where(np.isfinite(flat.lower) | curved, 0.0, -1.0),
            upper=np.where(np.isfinite(flat.upper) | curved, 0.0, 1.0),
            row_lower=np.where(np.isfinite(flat.row_lower), 0.0, -np.inf),
            row_upper=np.where(np.isfinite(flat.row_upper), 0.0, np.inf),
        )
    engine = new_engine()
    pass_model(engine, claim)
    answer = run(engine, claim)
    if status is SolutionStatus.INFEASIBLE:
        confirmed = answer.status is SolutionStatus.INFEASIBLE
    else:
        confirmed = answer.values is not None and float(claim.cost @ answer.values) < -FEASIBILITY
    if not confirmed:
        raise SolverError(
            f"HiGHS's quadratic solver calls the program {status}, which a linear program refutes: "
            "use solver 'projection' (least squares with linear rows) or 'gurobi'"
        )


def _unbounded_or_infeasible(engine: Any, flat: Matrices) -> Answer:
    """Decide between the two by a solve without objective, in another engine with the same options."""
    plain = replace(flat, cost=np.zeros_like(flat.cost), quadratic=np.zeros_like(flat.quadratic), offset=0.0)
    other = new_engine()
    other.passOptions(engine.getOptions())
    set_time_limit(other, engine.getOptions().time_limit - engine.getRunTime())
    pass_model(other, plain)
    answer = run(other, plain)
    return Answer(SolutionStatus.UNBOUNDED) if answer.values is not None else Answer(answer.status)
