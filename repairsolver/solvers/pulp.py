"""Any solver that PuLP drives, for reach rather than speed: the program is built term by term."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from layerwise.program import Array, Matrices, Program
from repairsolver.errors import SolverError, SolverUnavailableError
from repairsolver.solvers.driver import Answer, drive
from repairsolver.solvers.loading import installed, load_package
from repairsolver.solvers.protocol import Availability, Feature, Solution, SolutionStatus, Solver, Watch

Options = Mapping[str, float | int | str | bool]


@dataclass(frozen=True, slots=True)
class Pulp:
    """One solver behind PuLP: `pulp` is CBC, `pulp:HiGHS`, `pulp:SCIP`, ... any name that PuLP knows.

    PuLP hands through no dual bound; `bound` stays None. The seed reaches CBC and HiGHS only. Options
    are the keyword arguments of PuLP's own solver class. A start is for integer programs, and for the
    classes alone that take `warmStart`: CBC's do, HiGHS's does not.
    """

    backend: str = "CBC"

    @property
    def features(self) -> frozenset[Feature]:
        start = {Feature.WARM_START} if takes_start(self.backend) else set()
        return frozenset({Feature.INTEGERS, Feature.ROWS_ADDED} | start)

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
        begins = "integer programs start from the last solution" if takes_start(self.backend) else "no start"
        return Availability(True, found.version, f"drives {usable[0]}; {begins}, no basis")

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
            engine = self.engine(flat, seconds, gap, seed, options)
            with quiet():
                built = Built.of(flat)
            return run(engine, built, flat, start)

        return drive(self, program, compute)

    def session(self, watch: Watch | None = None) -> Solver:
        """PuLP with a memory; see `Resuming.session`. PuLP tells no progress: `watch` is not called."""
        from repairsolver.solvers.pulp_session import PulpSession  # which is built on this module

        return PulpSession(self)

    def engine(
        self, flat: Matrices, seconds: float | None, gap: float, seed: int, options: Options | None
    ) -> Engine:
        """What a program is to be solved with."""
        usable = _usable_classes(self.backend)
        if not usable:
            raise SolverUnavailableError(f"PuLP does not find {self.backend} here: take solver 'highs'")
        settings = _seed_settings(usable[0], seed % 2**31)
        if flat.integer.any():
            settings["gapRel"] = gap
        return Engine(usable[0], {**settings, **(options or {})}, seconds)


@dataclass(frozen=True, slots=True)
class Engine:
    """One of PuLP's solver classes by name, its keyword arguments, and a time limit."""

    kind: str
    settings: Mapping[str, Any]
    seconds: float | None

    def create(self, folder: str, *, start: bool = False) -> Any:
        """PuLP's solver itself, its files in a folder."""
        settings = dict(self.settings)
        if self.seconds is not None:
            settings.setdefault("timeLimit", self.seconds)
        if start:
            settings["warmStart"] = True
        try:
            made = load_package("pulp", "pulp").getSolver(self.kind, msg=False, **settings)
        except TypeError as error:
            raise SolverError(f"PuLP's {self.kind} refuses its options: {error}") from error
        made.tmpDir = folder
        return made


@cache
def takes_start(backend: str) -> bool:
    """Whether PuLP's classes of that name can begin from a solution."""
    if not installed("pulp", "pulp").usable:
        return False
    matching = _classes(backend)[1]
    return bool(matching) and all(_class_takes_start(name) for name in matching)


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
    known, matching = _classes(backend)
    if not matching:
        raise SolverUnavailableError(f"PuLP knows no solver {backend!r}; it knows {', '.join(known)}")
    with quiet():
        usable = [name for name in matching if pulp.getSolver(name, msg=False).available()]
    return sorted(usable, key=lambda name: name.startswith("PULP_"))


def _classes(backend: str) -> tuple[list[str], list[str]]:
    """The classes that PuLP has, and those for a solver, usable or not."""
    wanted = backend.lower()
    forms = {wanted, f"{wanted}_cmd", f"{wanted}_py"} | (
        {"coin_cmd", "pulp_cbc_cmd"} if wanted == "cbc" else set()
    )
    with quiet():
        known = [str(name) for name in load_package("pulp", "pulp").listSolvers()]
    return known, [name for name in known if name.lower() in forms]


@contextmanager
def quiet() -> Iterator[None]:
    """Without PuLP's announcements of what its version 4 will drop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@dataclass(slots=True, eq=False)
class Built:
    """A program as PuLP holds it.

    Args:
        rows: the constraints by row and sense.
        totals: the terms of the rows.
    """

    problem: Any
    unknowns: list[Any]
    totals: list[dict[Any, float]]
    rows: dict[tuple[int, int], Any]

    @classmethod
    def of(cls, flat: Matrices) -> Built:
        """Built from scratch."""
        pulp = load_package("pulp", "pulp")
        built = cls(pulp.LpProblem("repairsolver", pulp.LpMinimize), [], [], {})
        built.bring(flat)
        return built

    def bring(self, flat: Matrices) -> None:
        """Bring the problem to a program that has the last one's columns and rows first."""
        pulp, matrix = load_package("pulp", "pulp"), flat.rows
        for j in range(len(self.unknowns), len(flat.cost)):
            kind = pulp.LpInteger if flat.integer[j] else pulp.LpContinuous
            self.unknowns.append(pulp.LpVariable(f"v{j}", None, None, kind))
        for unknown, low, high in zip(self.unknowns, flat.lower.tolist(), flat.upper.tolist(), strict=True):
            unknown.lowBound = None if low == -np.inf else low
            unknown.upBound = None if high == np.inf else high
        # every column is named, so that PuLP keeps those with neither cost nor row
        costs = dict(zip(self.unknowns, flat.cost.tolist(), strict=True))
        self.problem.setObjective(pulp.LpAffineExpression(costs))
        for i in range(len(self.totals), matrix.shape[0]):
            entries = slice(matrix.indptr[i], matrix.indptr[i + 1])
            columns = [self.unknowns[j] for j in matrix.indices[entries]]
            self.totals.append(dict(zip(columns, matrix.data[entries].tolist(), strict=True)))
        wanted = {
            (i, sense): side
            for i, (low, high) in enumerate(zip(flat.row_lower, flat.row_upper, strict=True))
            for sense, side in _sides(pulp, float(low), float(high))
        }
        for key in self.rows.keys() - wanted.keys():
            del self.problem.constraints[self.rows.pop(key).name]
        for key, side in wanted.items():
            if key in self.rows:
                if self.rows[key].constant != -side:
                    self.rows[key].changeRHS(side)
                continue
            left = pulp.LpAffineExpression(self.totals[key[0]])
            self.rows[key] = pulp.LpConstraint(left, key[1], f"r{key[0]}_{key[1] + 1}", side)
            self.problem.addConstraint(self.rows[key])


def run(engine: Engine, built: Built, flat: Matrices, start: Array | None = None) -> Answer:
    """Solve what is built, integer programs from a start where the solver takes one.

    Raises:
        SolverError: PuLP's solver fails, or ends without an answer and without a time limit.
    """
    pulp, whole = load_package("pulp", "pulp"), bool(flat.integer.any())
    begins = start is not None and whole and _class_takes_start(engine.kind)
    with quiet(), tempfile.TemporaryDirectory(prefix="repairsolver-") as folder:
        made = engine.create(folder, start=begins)
        if begins and start is not None:
            for unknown, value in zip(built.unknowns, start.tolist(), strict=False):
                unknown.setInitialValue(value, check=False)
        try:
            built.problem.solve(made)
        except pulp.PulpSolverError as error:
            raise SolverError(f"PuLP's {engine.kind} failed: {error}") from error
        word, answer = built.problem.status, _read(pulp, built.problem, built.unknowns, flat)
    if answer.values is not None or word != pulp.LpStatusInfeasible:
        if answer.status is SolutionStatus.TIMEOUT and engine.seconds is None:
            raise SolverError(f"PuLP's {engine.kind} ended without an answer: take solver 'highs'")
        return answer
    if begins:
        return run(engine, built, flat)  # a start may mislead, but not decide
    if not flat.cost.any():
        return Answer(SolutionStatus.INFEASIBLE)
    # CBC's preprocessing says infeasible also where it means infeasible or unbounded
    plain = replace(flat, cost=np.zeros_like(flat.cost))
    with quiet():
        again = Built.of(plain)
    feasibility = run(engine, again, plain)
    return Answer(SolutionStatus.UNBOUNDED) if feasibility.values is not None else feasibility


def _class_takes_start(kind: str) -> bool:
    return "warmStart" in inspect.signature(getattr(load_package("pulp", "pulp"), kind)).parameters


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
