"""Any solver that PuLP drives, for reach rather than speed: the program is built term by term."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerwise.program import Array, Matrices, Program
from repairsolver.errors import SolverError, SolverUnavailableError
from repairsolver.solvers.driver import Answer, drive
from repairsolver.solvers.loading import installed, load_package
from repairsolver.solvers.protocol import Availability, Feature, Solution, SolutionStatus

Options = Mapping[str, float | int | str | bool]


@dataclass(frozen=True, slots=True)
class Pulp:
    """One solver behind PuLP: `pulp` is CBC, `pulp:HiGHS`, `pulp:SCIP`, ... any name that PuLP knows.

    PuLP hands through no dual bound; `bound` stays None. The seed reaches CBC and HiGHS only. Options
    are the keyword arguments of PuLP's own solver class.
    """

    backend: str = "CBC"
    features: frozenset[Feature] = frozenset({Feature.INTEGERS})

    @property
    def name(self) -> str:
        return "pulp" if self.backend == "CBC" else f"pulp:{self.backend}"

    def availability(self) -> Availability:
        found = installed("pulp", "pulp")
        if not found.usable:
            return found
        usable = _usable_classes(self.backend)
        if not usable:
            return Availability(False, found.version, f"PuLP does not find {self.backend} on this machine")
        return Availability(True, found.version, f"drives {usable[0]}")

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
            usable = _usable_classes(self.backend)
            if not usable:
                raise SolverUnavailableError(f"PuLP does not find {self.backend} here: take solver 'highs'")
            settings = _seed_settings(usable[0], seed % 2**31)
            if seconds is not None:
                settings["timeLimit"] = seconds
            if flat.integer.any():
                settings["gapRel"] = gap
            answer = _run(usable[0], {**settings, **(options or {})}, flat)
            if answer.status is SolutionStatus.TIMEOUT and seconds is None:
                raise SolverError(f"PuLP's {usable[0]} ended without an answer: take solver 'highs'")
            return answer

        return drive(self, program, compute)


def _seed_settings(class_name: str, seed: int) -> dict[str, Any]:
    match class_name:
        case "PULP_CBC_CMD" | "COIN_CMD":
            return {"options": [f"randomSeed {seed}", f"randomCbcSeed {seed}"]}
        case "HiGHS":
            return {"random_seed": seed}
        case _:
            return {}


def _usable_classes(backend: str) -> list[str]:
    """PuLP's classes for a solver that work here: CBC may be COIN_CMD or the bundled PULP_CBC_CMD.

    Raises:
        SolverUnavailableError: PuLP has no class for it.
    """
    pulp = load_package("pulp", "pulp")
    wanted = backend.lower()
    forms = {wanted, f"{wanted}_cmd", f"{wanted}_py"} | (
        {"coin_cmd", "pulp_cbc_cmd"} if wanted == "cbc" else set()
    )
    with _quiet():
        known = [str(name) for name in pulp.listSolvers()]
        matching = [name for name in known if name.lower() in forms]
        if not matching:
            raise SolverUnavailableError(f"PuLP knows no solver {backend!r}; it knows {', '.join(known)}")
        usable = [name for name in matching if pulp.getSolver(name, msg=False).available()]
    return sorted(usable, key=lambda name: name.startswith("PULP_"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PuLP's announcements of what its version 4 will drop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _run(class_name: str, settings: Mapping[str, Any], flat: Matrices) -> Answer:
    pulp = load_package("pulp", "pulp")
    with _quiet(), tempfile.TemporaryDirectory(prefix="repairsolver-") as folder:
        try:
            engine = pulp.getSolver(class_name, msg=False, **settings)
        except TypeError as error:
            raise SolverError(f"PuLP's {class_name} refuses its options: {error}") from error
        problem, unknowns = _problem(pulp, flat)
        engine.tmpDir = folder
        try:
            problem.solve(engine)
        except pulp.PulpSolverError as error:
            raise SolverError(f"PuLP's {class_name} failed: {error}") from error
        word, answer = problem.status, _read(pulp, problem, unknowns, flat)
    if answer.values is not None or word != pulp.LpStatusInfeasible:
        return answer
    if not flat.cost.any():
        return Answer(SolutionStatus.INFEASIBLE)
    # CBC's preprocessing says infeasible also where it means infeasible or unbounded
    feasibility = _run(class_name, settings, replace(flat, cost=np.zeros_like(flat.cost)))
    return Answer(SolutionStatus.UNBOUNDED) if feasibility.values is not None else feasibility


def _problem(pulp: Any, flat: Matrices) -> tuple[Any, list[Any]]:
    problem = pulp.LpProblem("repairsolver", pulp.LpMinimize)
    unknowns = [
        pulp.LpVariable(
            f"v{j}",
            None if np.isneginf(flat.lower[j]) else float(flat.lower[j]),
            None if np.isposinf(flat.upper[j]) else float(flat.upper[j]),
            pulp.LpInteger if flat.integer[j] else pulp.LpContinuous,
        )
        for j in range(len(flat.cost))
    ]
    # every column is named, so that PuLP keeps those with neither cost nor row
    problem.setObjective(pulp.LpAffineExpression(dict(zip(unknowns, flat.cost.tolist(), strict=True))))
    matrix = flat.rows
    for i in range(matrix.shape[0]):
        entries = slice(matrix.indptr[i], matrix.indptr[i + 1])
        columns = [unknowns[j] for j in matrix.indices[entries]]
        terms = dict(zip(columns, matrix.data[entries].tolist(), strict=True))
        for sense, side in _sides(pulp, float(flat.row_lower[i]), float(flat.row_upper[i])):
            problem.addConstraint(pulp.LpConstraint(pulp.LpAffineExpression(terms), sense, rhs=side))
    return problem, unknowns


def _sides(pulp: Any, lower: float, upper: float) -> list[tuple[int, float]]:
    if lower == upper:
        return [(pulp.LpConstraintEQ, lower)]
    both = [(pulp.LpConstraintGE, lower), (pulp.LpConstraintLE, upper)]
    return [(sense, side) for sense, side in both if np.isfinite(side)]


def _read(pulp: Any, problem: Any, unknowns: list[Any], flat: Matrices) -> Answer:
    """The answer by `sol_status`: at a time limit `status` says Optimal where there is only a solution."""
    status = {
        pulp.LpSolutionOptimal: SolutionStatus.OPTIMAL,
        pulp.LpSolutionIntegerFeasible: SolutionStatus.FEASIBLE,
        pulp.LpSolutionInfeasible: SolutionStatus.INFEASIBLE,
        pulp.LpSolutionUnbounded: SolutionStatus.UNBOUNDED,
    }.get(problem.sol_status, SolutionStatus.TIMEOUT)
    if status not in (SolutionStatus.OPTIMAL, SolutionStatus.FEASIBLE):
        return Answer(status)
    idle = np.clip(0.0, flat.lower, flat.upper)
    found = [unknown.varValue for unknown in unknowns]
    values = [rest if value is None else value for value, rest in zip(found, idle, strict=True)]
    return Answer(status, np.array(values, dtype=np.float64))
