"""What a solver is: a name, what it can do, whether it can be used here, and `solve`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from layerwise.program import Program
from repairsolver.results import Array


class Feature(StrEnum):
    """What a program may need of a solver."""

    INTEGERS = "integers"
    QUADRATIC = "quadratic objective"
    INTEGERS_AND_QUADRATIC = "integers with quadratic objective"
    EXACT = "exact rational arithmetic"
    DUAL_BOUND = "dual bound"
    WARM_START = "warm start"
    ROWS_ADDED = "rows added between solves"
    LAST_BASIS = "goes on from the last basis"


class SolutionStatus(StrEnum):
    """How a solve ended. `FEASIBLE`: a solution, not proved optimal, when a limit ended the search."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a solver can be used here, and why not."""

    usable: bool
    version: str
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What a solver answered; `values` has passed `Program.violation` before anybody sees it.

    Args:
        status: see `SolutionStatus`.
        values: [columns], None unless optimal or feasible.
        objective: the objective at `values`, recomputed from them.
        bound: a lower bound on every feasible objective as the solver claims it (its dual bound).
        seconds: wall-clock time.
        violation: the largest constraint violation of `values`, absolute.
    """

    status: SolutionStatus
    values: Array | None
    objective: float | None
    bound: float | None
    seconds: float
    solver: str
    violation: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running search over integers knows.

    Args:
        seconds: since the solver began.
        objective: of the best solution so far, None without one.
        bound: a lower bound as the solver claims it, None without one.
        nodes: of the branch and bound tree.
    """

    seconds: float
    objective: float | None
    bound: float | None
    nodes: int


Watch = Callable[[Progress], bool]
"""Called now and then while an integer program is solved; True ends the search with what there is."""


class Solver(Protocol):
    """A solver over `Program`. Stateless (but for sessions): everything it needs comes with the call."""

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> frozenset[Feature]: ...

    def availability(self) -> Availability:
        """Whether it is installed and licensed; takes no licence seat and prints nothing."""
        ...

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
        """Solve a program.

        Args:
            seconds: time limit.
            gap: relative optimality gap at which an integer program may stop.
            seed: the solver's random seed.
            start: values to start from, [columns]; ignored by solvers without `WARM_START`.
            options: the solver's own options; an unknown one raises.

        Raises:
            SolverCapabilityError: the program needs a feature the solver lacks.
            LicenseError: the licence does not allow a program of this size.
            SolverError: the solver failed, or its answer does not satisfy the program.
        """
        ...


class Resuming(Solver, Protocol):
    """A solver with `ROWS_ADDED`."""

    def session(self, watch: Watch | None = None) -> Solver:
        """The same solver with a memory, for programs that come one after the other.

        A program that is the last one with further columns and rows, other bounds or costs is not built
        again, and solved from where the last one ended, as far as the solver can: linear programs from the
        basis (`LAST_BASIS`), integer ones from the solution (`WARM_START`). Any other program is solved
        from scratch. Answers are checked as always, and as good.
        """
        ...
