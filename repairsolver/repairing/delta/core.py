r"""Why no change of a layer is enough: an irreducible set of requirements that contradict each other.

Rows g_i delta > m_i can be met iff the largest t with \(g_i \delta - t \ge m_i\) for all i is positive.
For multipliers \(y \ge 0\), \(\sum y = 1\) and changes within the reach R,

$$ t \;\le\; \sum_u R_u \, |(G^\top y)_u| - y^\top m, $$

so that a bound of at most 0 is a proof, also where equality could be reached: a tie violates a strict
requirement. Its support is thinned by the deletion filter: a member without which the rest is still
contradictory is left out. Where one of several rows is enough, every choice is refuted by a branch.

Source: Motzkin's transposition theorem, Schrijver, Theory of Linear and Integer Programming, 1986, section
7.8; Chinneck and Dravnieks, Locating minimal infeasible constraint sets, ORSA J. Computing 3, 1991.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from repairsolver.property import PointSet
from repairsolver.repairing.delta.reduced import touched_columns
from repairsolver.repairing.delta.requirements import Requirements
from repairsolver.repairing.explanation import Core, Demand
from repairsolver.results import Array

TOLERANCE = 1e-7
"""A margin that is smaller, relative to the largest amount that is missing, counts as none."""

NOISE = 1e-12
"""What rounding may leave of sums that cancel, relative to the sum of the terms' sizes."""

FREE = 1e6
"""The reach where there is no limit, in multiples of the size of change that removes what is missing."""

BATCH = 100
"""Rows taken up at once."""

Member = tuple[str, int, int]
"""Group, point in it, and the row that is needed; row -1 where one of the group's rows is enough."""


class Undecided(Exception):
    """The time does not suffice, or the linear program's solver gave up; never leaves this module."""


@dataclass(slots=True, eq=False)
class Contradiction:
    """Decides whether requirements contradict each other; keeps gradients between questions.

    Args:
        reach: R, a number or [unknowns], infinite where any change is allowed.
        deadline: of `time.perf_counter()`.
        margin: the largest bound on t among the proofs since the last question was begun.
    """

    requirements: Requirements
    reach: Array | float
    deadline: float = np.inf
    margin: float = -np.inf
    _gradients: dict[Member, sparse.csr_array] = field(default_factory=dict)

    def refute(self, members: Iterable[Member] | None = None) -> frozenset[Member] | None:
        """Members that contradict each other, or None if a change meets all of them strictly.

        Args:
            members: those to consider; None for every requirement that must hold.

        Raises:
            Undecided: it cannot be told.
        """
        self.margin = -np.inf
        if members is not None:
            everything = list(members)
            plain = [m for m in everything if m[2] >= 0]
            return self._branch(plain, [m for m in everything if m[2] < 0], {})
        choices = [(name, g) for name, g in self.requirements.groups.items() if not g.plain]
        return self._branch(None, [(name, p, -1) for name, g in choices for p in range(len(g.slack))], {})

    def core(self) -> tuple[Member, ...] | None:
        """An irreducible contradiction; None if there is none, or if it cannot be told."""
        try:
            support = self.refute()
            if support is None:
                return None
            kept = sorted(support)
            for member in list(kept):
                smaller = None if member not in kept else self.refute(m for m in kept if m != member)
                if smaller is not None:
                    kept = [m for m in kept if m in smaller]
            self.refute(kept)
        except Undecided:
            return None
        return tuple(kept)

    def _branch(
        self, plain: list[Member] | None, open_: list[Member], chosen: dict[Member, Member]
    ) -> frozenset[Member] | None:
        """`chosen` maps the rows taken to the members that they were taken for."""
        delta, against = self._meet(plain, list(chosen))
        if against is not None:
            return frozenset(chosen.get(m, m) for m in against)
        assert delta is not None
        unmet = self._worst_open(open_, delta)
        if unmet is None:
            return None
        name, point, _ = unmet
        union: frozenset[Member] = frozenset()
        rest = [m for m in open_ if m != unmet]
        group = self.requirements.groups[name]
        for row in np.argsort(-self.requirements.values(group, delta)[point], kind="stable").tolist():
            proof = self._branch(plain, rest, chosen | {(name, point, row): unmet})
            if proof is None:
                return None
            if unmet not in proof:
                return proof
            union |= proof
        return union

    def _worst_open(self, open_: list[Member], delta: Array) -> Member | None:
        """The member of which no row is met by a change, and whose best row lacks most."""
        worst, found = 0.0, None
        for name in {name for name, _, _ in open_}:
            points = np.array([p for n, p, _ in open_ if n == name])
            best = self.requirements.values(self.requirements.groups[name], delta)[points].max(axis=1)
            at = int(best.argmin())
            if best[at] <= worst:
                worst, found = float(best[at]), (name, int(points[at]), -1)
        return found

    def _meet(
        self, plain: list[Member] | None, chosen: list[Member]
    ) -> tuple[Array | None, list[Member] | None]:
        """A change that meets all of these rows strictly, or rows with a proof that none does."""
        delta = np.zeros(self.requirements.layer.size)
        active: list[Member] = []
        while True:
            taken = set(active)
            lack = self._lacking(delta) if plain is None else self._values(plain, delta)
            lack += self._values(chosen, delta)
            fresh = [m for value, m in sorted(lack) if value <= 0 and m not in taken][:BATCH]
            if not fresh:
                return delta, None
            active += fresh
            delta, proof = self._largest_margin(active)
            if proof is not None:
                return None, proof

    def _values(self, members: list[Member], delta: Array) -> list[tuple[float, Member]]:
        """What rows reach under a change."""
        groups = self.requirements.groups
        values = {n: self.requirements.values(groups[n], delta) for n in {n for n, _, _ in members}}
        return [(float(values[n][p, r]), (n, p, r)) for n, p, r in members]

    def _lacking(self, delta: Array) -> list[tuple[float, Member]]:
        """Of all rows that must hold those that a change does not meet; of every point the worst one."""
        found: list[tuple[float, Member]] = []
        everywhere = self.requirements.all_values(delta)
        for name, group in self.requirements.groups.items():
            if group.plain and np.isinf(group.penalty):
                values = everywhere[name]
                row = values.argmin(axis=1)
                least = values[np.arange(len(values)), row]
                worst = np.argsort(least, kind="stable")[:BATCH]
                found += [(float(least[p]), (name, int(p), int(row[p]))) for p in worst]
        return found

    def _largest_margin(self, members: list[Member]) -> tuple[Array, list[Member] | None]:
        """The change of the module's program over some rows, or the rows of a proof that t <= 0.

        Rows are divided by their largest entry, and the unit of change is what the worst of them lacks.
        """
        if time.perf_counter() > self.deadline:
            raise Undecided
        groups = self.requirements.groups
        touched, matrix = touched_columns(
            sparse.csr_array(sparse.vstack([self._gradient(member) for member in members], format="csr"))
        )
        if not len(touched):  # no number that may change moves any of these rows
            return self._fixed(members)
        size = abs(matrix).max(axis=1).toarray().ravel()
        size[size == 0] = 1.0
        matrix = sparse.csr_array(sparse.diags_array(1.0 / size) @ matrix)
        missing = -np.array([groups[n].slack[p, r] for n, p, r in members]) / size
        unit = float(np.abs(missing).max()) or 1.0
        missing = missing / unit
        reach = np.broadcast_to(self.reach, self.requirements.layer.size)[touched] / unit
        delta, multipliers = _solve(matrix, missing, np.minimum(reach, FREE))
        bound = _margin_bound(matrix, missing, np.minimum(reach, FREE), multipliers)
        if bound <= TOLERANCE:
            self.margin = max(self.margin, bound)
            return np.zeros(0), [m for m, y in zip(members, multipliers, strict=True) if y > 0]
        full = np.zeros(self.requirements.layer.size)
        full[touched] = delta * unit
        return full, None

    def _fixed(self, members: list[Member]) -> tuple[Array, list[Member] | None]:
        """No change where all rows hold as they are; else the worst of them, a proof by itself."""
        groups = self.requirements.groups
        slack = np.array([groups[n].slack[p, r] for n, p, r in members])
        if slack.min() > 0:
            return np.zeros(self.requirements.layer.size), None
        self.margin = max(self.margin, -1.0)
        return np.zeros(0), [members[int(slack.argmin())]]

    def _gradient(self, member: Member) -> sparse.csr_array:
        if member not in self._gradients:
            name, point, row = member
            dense = self.requirements.gradient(self.requirements.groups[name], point, row)
            self._gradients[member] = sparse.csr_array(dense[None])
        return self._gradients[member]


def _solve(matrix: sparse.csr_array, missing: Array, reach: Array) -> tuple[Array, Array]:
    """The change and the multipliers of the largest t, which is at most 1."""
    rows = sparse.hstack([-matrix, sparse.csr_array(np.ones((len(missing), 1)))])
    cost = np.append(np.zeros(len(reach)), -1.0)
    bounds: list[tuple[float | None, float | None]] = [(-r, r) for r in reach.tolist()]
    bounds.append((None, 1.0))
    solve: Any = linprog  # its stubs want literals
    answer = solve(cost, sparse.csr_array(rows), -missing, bounds=bounds, method="highs-ds")
    if answer.status != 0:
        raise Undecided
    return answer.x[:-1], np.maximum(-np.asarray(answer.ineqlin.marginals), 0.0)


def _margin_bound(matrix: sparse.csr_array, missing: Array, reach: Array, multipliers: Array) -> float:
    """The bound on t of the module's formula; infinite without multipliers."""
    total = float(multipliers.sum())
    if total <= 0.5:  # t is stopped by its own limit
        return np.inf
    y = multipliers / total
    slope = np.abs(matrix.T @ y) - NOISE * (abs(matrix).T @ y)
    return float(reach @ np.maximum(slope, 0.0) - y @ missing)


def find_core(
    requirements: Requirements,
    reach: Array | float,
    points: PointSet | None,
    keep: PointSet | None,
    seconds: float = np.inf,
) -> Core | None:
    """An irreducible contradiction among the requirements; None if there is none, or if it cannot be told.

    Args:
        reach: R, by how much the unknowns may change.
        points, keep: as given, to say which of them are meant.
    """
    contradiction = Contradiction(requirements, reach, time.perf_counter() + seconds)
    members = contradiction.core()
    if members is None:
        return None
    groups = requirements.groups
    hidden = np.array([groups[name].hidden[point].ravel() for name, point, _ in members])
    given = {"repair": points, "keep": keep}
    demands = tuple(_demand(requirements, member, given) for member in members)
    same = len(members) > 1 and bool((hidden == hidden[0]).all())
    return Core(demands, contradiction.margin >= -TOLERANCE, same)


def _demand(requirements: Requirements, member: Member, given: dict[str, PointSet | None]) -> Demand:
    name, point, row = member
    group = requirements.groups[name]
    at = group.inputs[point]
    kind, _, label = name.partition(" ")
    if kind in given and group.every:
        wanted = int(label.partition(" ")[0])
        source = "points" if kind == "repair" else "keep"
        index = _index(requirements, given[kind], at)
        return Demand(source, index, wanted, row if row < wanted else row + 1, "", at)
    index = _index(requirements, given["repair"], at)
    return Demand("property" if index is None else "points", index, None, None, name, at)


def _index(requirements: Requirements, given: PointSet | None, at: Array) -> int | None:
    """The first of the given points that is this input in the network's element type."""
    if given is None:
        return None
    rounded = given.inputs.astype(requirements.network.element).astype(np.float64)
    found = np.flatnonzero((rounded == at).all(axis=1))
    return int(found[0]) if found.size else None
