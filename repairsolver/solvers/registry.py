"""Which solvers there are: one table, nothing imported before it is asked for.

Others add a solver by an entry point in the group `repairsolver.solvers`: its name is the solver's
name, its value a callable without arguments that returns a `Solver`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import cast

from layerwise.program import Array, Program
from repairsolver.errors import SolverUnavailableError
from repairsolver.solvers.protocol import Availability, Feature, Resuming, Solution, Solver, Watch

SOLVERS: dict[str, str] = {
    "highs": "repairsolver.solvers.highs:Highs",
    "gurobi": "repairsolver.solvers.gurobi:Gurobi",
    "pulp": "repairsolver.solvers.pulp:Pulp",
    "z3": "repairsolver.solvers.z3:Z3",
    "projection": "repairsolver.solvers.least_squares:Projection",
}
"""Name to `module:class`, in order of preference."""

ENTRY_POINTS = "repairsolver.solvers"


@dataclass(frozen=True, slots=True)
class SolverRow:
    """One line of `repairsolver solvers`."""

    name: str
    availability: Availability
    features: frozenset[Feature]


def get_solver(name: str) -> Solver:
    """The solver of that name; `pulp:NAME` is the solver NAME driven by PuLP.

    Raises:
        SolverUnavailableError: no such solver, or it cannot be used here; says what to do.
    """
    solver = _create(name)
    availability = solver.availability()
    if not availability.usable:
        raise SolverUnavailableError(
            f"solver {name!r} cannot be used here: {availability.note}; "
            f"usable solvers: {', '.join(available_solvers())}"
        )
    return solver


def available_solvers() -> tuple[str, ...]:
    """The names of the solvers that can be used here, in order of preference."""
    return tuple(row.name for row in report() if row.availability.usable)


def capable_solvers(needs: Iterable[Feature]) -> tuple[str, ...]:
    """The names of the solvers, usable here or not, that have all these features."""
    solvers = [_create(name) for name in _names()]
    return tuple(solver.name for solver in solvers if solver.features >= frozenset(needs))


def report() -> tuple[SolverRow, ...]:
    """Every registered solver: whether it is usable, its version and what it can do."""
    created = [_create(name) for name in _names()]
    return tuple(SolverRow(solver.name, solver.availability(), solver.features) for solver in created)


def solve(
    program: Program,
    solver: str | Solver = "highs",
    *,
    seconds: float | None = None,
    gap: float = 0.0,
    seed: int = 0,
    start: Array | None = None,
    options: Mapping[str, float | int | str | bool] | None = None,
) -> Solution:
    """Solve a program with a solver, given or by name; see `Solver.solve`."""
    chosen = get_solver(solver) if isinstance(solver, str) else solver
    return chosen.solve(program, seconds=seconds, gap=gap, seed=seed, start=start, options=options)


def session(solver: str | Solver = "highs", watch: Watch | None = None) -> Solver:
    """A solver that goes on from its last program where it can; else the solver itself.

    Args:
        watch: called while integer programs are solved, by solvers with `ROWS_ADDED`.
    """
    chosen = get_solver(solver) if isinstance(solver, str) else solver
    return cast(Resuming, chosen).session(watch) if Feature.ROWS_ADDED in chosen.features else chosen


def _names() -> list[str]:
    return [*SOLVERS, *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - set(SOLVERS))]


def _create(name: str) -> Solver:
    key, _, argument = name.partition(":")
    if key in SOLVERS:
        module, _, attribute = SOLVERS[key].partition(":")
        factory = getattr(importlib.import_module(module), attribute)
    else:
        points = list(entry_points(group=ENTRY_POINTS, name=key))
        if not points:
            raise SolverUnavailableError(f"unknown solver {name!r}: known are {', '.join(_names())}")
        factory = points[0].load()
    solver: Solver = factory(argument) if argument else factory()
    return solver
