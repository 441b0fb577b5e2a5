r"""The least change that bounds prove on given boxes, by cutting planes at their pseudo-points.

With boxes \(B_1, ..., B_N\) that tile the regions, a row chosen for each, and the bound \(L_i\) of `leaves`:

$$ \min \lVert w \odot \delta \rVert \quad\text{s.t.}\quad L_i(r_i(\delta)) \ge m \;\; \forall i, \quad
   \text{rows of all points} \ge need. $$

Each \(L_i\) is concave in the change, and at least m where the row is right at every pseudo-point of the box.
The pseudo-points that a trial change misses become requirements like a counterexample's. Trials lie a little
way from the program's optimum towards a change that is provable already, so that they become provable
themselves instead of approaching the border from outside for ever.

Source: Ben-Tal, El Ghaoui and Nemirovski, Robust Optimization, 2009, chapter 1; Kelley, The cutting-plane
method for solving convex programs, Journal of the SIAM 8, 1960; Ben-Ameur and Neto, Acceleration of
cutting-plane and column generation algorithms, Networks 49, 2007 (trials between inside and outside).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from repairsolver.repairing.delta.leaves import Leaves, Tiling, Worst
from repairsolver.repairing.delta.loop import Session
from repairsolver.repairing.delta.program import Entries, Key, Row
from repairsolver.repairing.delta.requirements import Group, Ids, Requirements
from repairsolver.repairing.delta.sequential import least
from repairsolver.results import Array
from repairsolver.solvers import SolutionStatus

PROGRAMS, FRESH, MOST = 40, 150, 600
"""Programs for one tiling; pseudo-points added at once; and how many there are before some are forgotten."""

INWARD, LEAST_INWARD, CLOSE = 0.3, 0.01, 0.03
"""How far trials lie from the optimum, as a share of the way inwards (halved where programs stand still, down
to the least); and how far the provable change may be from the optimum, relative to its cost."""


@dataclass(slots=True, eq=False)
class Cuts:
    """Pseudo-points that must be right: the box, conjunction, row, x* and h* of each."""

    box: Ids
    query: Ids
    row: Ids
    inputs: Array
    hidden: Array

    def __len__(self) -> int:
        return len(self.box)

    def __getitem__(self, some: Ids) -> Cuts:
        return Cuts(*(getattr(self, f.name)[some] for f in fields(self)))

    def joined(self, leaves: Leaves, rows: Ids, worst: Worst, boxes: Ids) -> Cuts:
        fresh = boxes, leaves.query.numpy()[boxes], rows[boxes], worst.inputs[boxes], worst.hidden[boxes]
        old = (getattr(self, f.name) for f in fields(self))
        return Cuts(*(np.concatenate(pair) for pair in zip(old, fresh, strict=True)))

    def of(self, place: Ids) -> Cuts:
        """Those whose boxes are still there, at their new places; -1 for boxes that were halved."""
        kept = self[np.flatnonzero(place[self.box] >= 0)]
        return replace(kept, box=place[kept.box])


class Programs:
    """Programs over the points of a session and the pseudo-points so far.

    Args:
        margin: m, asked of points and boxes alike.
        end: `time.perf_counter()` value for the solver.
    """

    def __init__(self, session: Session, tiling: Tiling, margin: float, end: float) -> None:
        self.session, self.tiling, self.margin, self.end = session, tiling, margin, end
        none, inputs = np.zeros(0, dtype=np.int64), np.zeros((0, session.network.input_size))
        self.cuts = Cuts(none, none, none, inputs, np.zeros((0, tiling.graph.size(tiling.position))))
        self.choices: Mapping[Key, int] = {}
        self._active: list[Row] = []
        self._rows: dict[Row, Entries] = {}

    def cost(self, delta: Array) -> float:
        return self.session.problem(0.0, np.inf).cost(delta)

    def at_points(self, margin: float) -> Array | None:
        """The least change for the points alone, with another margin; its choices of rows are kept."""
        return self._solved(margin, {})

    def provable(self, leaves: Leaves, safe: Array, until: float) -> Array:
        """Nearly the least change that bounds prove on all boxes, from one that they prove.

        Boxes keep the row that is best at the least change, of those that are right at the safe one.
        """
        rows, share, before = None, INWARD, -1.0
        for _ in range(PROGRAMS):
            delta = self._solved(self.margin, self._groups())
            if delta is None or time.perf_counter() > until:
                break
            cost = self.cost(delta)
            if self.cost(safe) <= (1 + CLOSE) * cost:
                break
            rows = self._chosen(leaves, safe, delta) if rows is None else rows
            share = INWARD if cost > before * (1 + 1e-6) else share / 2
            trial = delta + (share if share > LEAST_INWARD else 0.0) * (safe - delta)
            worst, before = self.tiling.worst(leaves, rows, trial), cost
            short = np.flatnonzero(worst.value < self.margin / 2)
            if len(short):
                self._forget(delta)
                order = short[np.argsort(worst.value[short], kind="stable")]
                self.cuts = self.cuts.joined(leaves, rows, worst, order[:FRESH])
            else:
                safe, before = trial, -1.0
        return safe

    def _chosen(self, leaves: Leaves, safe: Array, delta: Array) -> Ids:
        """The row of each box; pseudo-points of other rows are forgotten."""
        right, values = self.tiling.values(leaves, safe) > 0, self.tiling.values(leaves, delta)
        rows: Ids = np.where(right, values, -np.inf).argmax(axis=1)
        self.cuts = self.cuts[np.flatnonzero(rows[self.cuts.box] == self.cuts.row)]
        return rows

    def _forget(self, delta: Array) -> None:
        """Drop the pseudo-points that a change is farthest from missing, where there are many."""
        if len(self.cuts) <= MOST:
            return
        values = np.zeros(len(self.cuts))
        for (query, row), group in self._by_row().items():
            at = (self.cuts.query == query) & (self.cuts.row == row)
            effect = self.session.layer.effect(group.hidden, delta)
            values[at] = (group.slack + effect @ group.readout.T)[:, 0]
        self.cuts = self.cuts[np.sort(np.argsort(values, kind="stable")[: MOST // 2])]

    def _solved(self, margin: float, own: Mapping[str, Group]) -> Array | None:
        """The least change for all points and these groups of pseudo-points; without them rows are chosen."""
        session, required = self.session, self.session.requirements
        active = [
            *self._active,
            *((name, k, 0) for name, group in own.items() for k in range(len(group.slack))),
        ]
        problem = replace(
            session.problem(margin, self.end - time.perf_counter()),
            requirements=Requirements(session.network, session.layer, {**required.groups, **own}),
            weights=session.weights,
            _active=dict.fromkeys(active),
            _rows=dict(self._rows),
        )
        if own:
            found = problem.solve(self.choices, shared=True)
            delta = found.delta if found.status is SolutionStatus.OPTIMAL else None
        else:
            optimum = least(problem, shared=True)
            self.choices, delta = optimum.choices, optimum.delta
        self._active = [row for row in problem._active if row[0] in required.groups]
        self._rows = {row: entry for row, entry in problem._rows.items() if row[0] in required.groups}
        return delta

    def _groups(self) -> dict[str, Group]:
        return {f"boxes of conjunction {q}, row {r}": group for (q, r), group in self._by_row().items()}

    def _by_row(self) -> dict[tuple[int, int], Group]:
        """The pseudo-points as requirements, by conjunction and row."""
        asked, cuts, groups = self.tiling.queries, self.cuts, {}
        for q, r in np.unique(np.stack([cuts.query, cuts.row], axis=1), axis=0).tolist():
            part = cuts[np.flatnonzero((cuts.query == q) & (cuts.row == r))]
            readout = asked.output[q, r].numpy()[None]
            shift = (part.inputs @ asked.input[q, r].numpy() - float(asked.bound[q, r]))[:, None]
            slack = self.tiling.scores(part.hidden) @ readout.T + shift
            name, zero = f"boxes of conjunction {q}, row {r}", np.zeros(len(part))
            groups[q, r] = Group(
                name, readout, True, True, part.inputs, part.hidden, shift, slack, zero, zero
            )
        return groups
