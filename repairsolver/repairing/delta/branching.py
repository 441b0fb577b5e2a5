r"""Disjunctions solved by branching on which row is broken, without big-M.

A node of the search has chosen a row for some of the groups (or some of their points); its optimum over
the chosen rows alone bounds every completion from below, because leaving requirements out only relaxes
the program. Nodes are taken by bound; a node whose change meets every requirement is a solution. No
constant bounds the change, so an exhausted tree proves that no change of any size is enough.

Two granularities: `shared` chooses one row for all points of a group, which makes the repaired network
meet a plain half-space in the whole region (few choices, easy proofs, no border between points that chose
differently); otherwise every point chooses for itself, which gives the true optimum and the lower bound.

Source: Balas, Disjunctive programming, Annals of Discrete Mathematics 5, 1979, section 2 (a disjunction
as a union of polyhedra); Land and Doig, Econometrica 28, 1960 (branch and bound).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from repairsolver.repairing.delta.program import TOLERANCE, Key, LeastChange
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """The least change over all choices.

    Args:
        status: optimal; feasible or timeout where a limit ended the search; infeasible.
        delta: [unknowns], the best change found, or None.
        cost: its norm; infinite without one.
        bound: a lower bound on the norm of every change that meets the requirements.
        choices: the rows chosen: by (group, -1) if shared, else by (group, point).
        nodes: how many programs were solved.
        failure: what a solver said that failed on the way, so that the bound is lower than it might be.
    """

    status: SolutionStatus
    delta: Array | None
    cost: float
    bound: float
    choices: Mapping[Key, int]
    nodes: int
    failure: str = ""


@dataclass(slots=True, eq=False)
class _Search:
    """The open nodes, the best solution, and the least bound of all nodes that were closed."""

    problem: LeastChange
    shared: bool
    known: float
    heap: list[tuple[float, int, float, int, dict[Key, int]]]
    ticket: Iterator[int]
    best: Array | None = None
    choices: dict[Key, int] = field(default_factory=dict)
    closed: float = np.inf
    solved: int = 0

    def open(self, bound: float, depth: int, shortfall: float, choices: dict[Key, int]) -> None:
        """Add a node; of equal bounds the deepest comes first, then the row that lacks least."""
        heapq.heappush(self.heap, (bound, -depth, shortfall, next(self.ticket), choices))

    @property
    def bound(self) -> float:
        return min(self.closed, self.heap[0][0] if self.heap else np.inf)

    def step(self) -> bool:
        """Solve the open node of least bound; False where a limit ended it."""
        bound, depth, shortfall, _, choices = heapq.heappop(self.heap)
        relaxed = self.problem.solve(choices, self.shared)
        bound = max(bound, relaxed.bound)
        self.solved += 1
        if relaxed.status is SolutionStatus.TIMEOUT:
            if relaxed.delta is not None:
                self._take(relaxed.delta, choices)
            self.open(bound, -depth, shortfall, choices)
            return False
        if relaxed.status is SolutionStatus.INFEASIBLE:
            self.closed = min(self.closed, self.problem.limit)
        elif relaxed.delta is None:
            self.open(bound, -depth, shortfall, choices)
            return False
        else:
            self._branch(relaxed.delta, bound, -depth, choices)
        return True

    def _take(self, delta: Array, choices: dict[Key, int]) -> None:
        """Keep a change if it meets everything and is the cheapest."""
        cost = self.problem.cost(delta)
        if cost < self.known and _worst_unmet(self.problem, delta) is None:
            self.best, self.known, self.choices = delta, cost, choices

    def _branch(self, delta: Array, bound: float, depth: int, choices: dict[Key, int]) -> None:
        unmet = _worst_unmet(self.problem, delta)
        if unmet is None:
            self.closed = min(self.closed, bound)
            self._take(delta, choices)
            return
        (name, point), shortfall = unmet
        for row in np.argsort(shortfall, kind="stable"):
            chosen = choices | {(name, -1 if self.shared else point): int(row)}
            self.open(bound, depth + 1, float(shortfall[row]), chosen)


def optimise(
    problem: LeastChange, *, shared: bool, gap: float = 1e-6, nodes: int = 2000, known: float = np.inf
) -> Optimum:
    """The least change that meets all requirements.

    Args:
        shared: one row for all points of a group.
        gap: relative gap at which the search may stop.
        nodes: limit on the number of programs.
        known: the norm of a change that is known to be enough; only better ones are looked for, and
            `OPTIMAL` without a change says that there is none.
    """
    search = _Search(problem, shared, known, [], count())
    search.open(0.0, 0, 0.0, {})
    limited = False
    while search.heap and search.heap[0][0] < search.known * (1 - gap) and not limited:
        late = problem.deadline is not None and time.perf_counter() > problem.deadline
        limited = search.solved >= nodes or late or not search.step()
    if limited:
        status = SolutionStatus.TIMEOUT if search.best is None else SolutionStatus.FEASIBLE
    else:
        status = SolutionStatus.INFEASIBLE if np.isinf(search.known) else SolutionStatus.OPTIMAL
    lower = min(search.bound, search.known)
    return Optimum(status, search.best, search.known, lower, search.choices, search.solved)


def _worst_unmet(problem: LeastChange, delta: Array) -> tuple[Key, Array] | None:
    """The disjunction that is missed most, with the shortfall of each of its rows; None if all are met."""
    worst, found = TOLERANCE * problem.scale(), None
    for name, group in problem.requirements.groups.items():
        if group.plain:
            continue
        short = problem.shortfall(group, delta)
        least = short.min(axis=1)
        point = int(np.argmax(least)) if len(least) else -1
        if point >= 0 and least[point] > worst:
            worst, found = float(least[point]), ((name, point), short[point])
    return found
