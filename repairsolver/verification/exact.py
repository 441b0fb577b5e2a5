r"""Exact queries on one box: the largest violation as a mixed-integer program.

$$ \max\; t \quad\text{s.t.}\quad t \le d_r - C_r y - D_r x \;\;\forall r, \quad y = f(x), \; x \in [l, u]. $$

The solver works within tolerances, hence the conjunction counts as impossible only if its dual bound on
t lies below -`MARGIN`; what lies between stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerwise.program import Program
from repairsolver.errors import SolverError
from repairsolver.network.graph import Network
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus, get_solver
from repairsolver.verification.encode import Known, encode_network

# A hundred times the solver's feasibility tolerance, relative to the size of the rows.
MARGIN = 1e-4
# Random points that a solver's bound has to agree with.
CHECKS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One conjunction C y + D x <= d as arrays [r, m], [r, n], [r]."""

    output: Array
    input: Array
    bound: Array


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the program said about a box.

    Args:
        impossible: the conjunction cannot be violated on the box.
        point: an input that the solver believes to violate most, [n], to be replayed; or None.
        bound: a lower bound of max_r g_r (minus the dual bound of t); -inf if there is none.
        finished: False if the time limit ended the search.
        failure: why the solver gave no answer at all; such a box stays unproved.
    """

    impossible: bool
    point: Array | None
    bound: float
    finished: bool
    failure: str = ""


def largest_violation(
    network: Network,
    lower: Array,
    upper: Array,
    rows: Rows,
    known: Known,
    *,
    seconds: float,
    solver: str = "highs",
) -> Answer:
    """Solve the program of the module's formula on one box [lower, upper].

    Args:
        known: valid bounds of every pre-activation on the box, by tensor name.
        seconds: time limit of the solver.
    """
    program = Program()
    x = program.columns(len(lower), lower, upper, name="x")
    y = encode_network(program, network, x, known, segments=4)
    scale = max(1e-6, float(np.abs(rows.output).sum(axis=1).max()) * _spread(known))
    t = program.columns(1, -np.inf, np.inf, name="t")
    for r in range(len(rows.bound)):
        excess = rows.output[r : r + 1] @ y + rows.input[r : r + 1] @ x - rows.bound[r]
        program.rows(excess + t, upper=0.0)
    program.minimise(-t)
    try:
        answer = get_solver(solver).solve(program, seconds=seconds)
    except SolverError as error:
        return Answer(False, None, -np.inf, True, str(error))
    if answer.status is SolutionStatus.INFEASIBLE:
        # The network has an output for every input: only rounding of the bounds can do this.
        return Answer(False, None, -np.inf, True)
    bound = -np.inf if answer.bound is None else answer.bound
    point = None if answer.values is None else np.clip(answer.values[: len(lower)], lower, upper)
    finished = answer.status is SolutionStatus.OPTIMAL
    if bound > _least_seen(network, lower, upper, rows, point) + MARGIN:
        # A point of the box contradicts the solver's claim: it proves nothing.
        return Answer(False, point, -np.inf, finished)
    return Answer(bound > MARGIN * min(1.0, scale), point, float(bound), finished)


def _least_seen(network: Network, lower: Array, upper: Array, rows: Rows, point: Array | None) -> float:
    """The least max_r g_r at the solver's point and at random points of the box: no bound may exceed it."""
    random = np.random.default_rng(0).random((CHECKS, len(lower)))
    points = np.vstack([lower + random * (upper - lower), *([] if point is None else [point])])
    values = network(points) @ rows.output.T + points @ rows.input.T - rows.bound
    return float(values.max(axis=1).min())


def _spread(known: Known) -> float:
    """The size of the last pre-activations: what an output can be made of."""
    if not known:
        return 1.0
    lower, upper = list(known.values())[-1]
    return float(np.maximum(np.abs(lower), np.abs(upper)).max())
