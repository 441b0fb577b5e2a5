"""Repairs that are provable by construction: boxes refined and changes made smaller in turn, then proved.

All work on boxes is kept, whatever the change: a layer with a linear tail leaves the neurons before it alone.

1. Boxes are halved until bounds prove a change with some margin at all points; the margin rises when that
   takes too long, and the boxes stay.
2. The least change that bounds prove on these boxes is sought (`pseudo_points`): it needs room only where
   bounds are loose.
3. The margin falls, and the boxes on which the bounds do not prove its change are halved further: to 2.

The verifier proves the first result, so that there is one, and the last one whose proof fits into the time;
as long as another round and its proof fit, it goes on. What proofs take is foretold from the newest one.
Lower bounds never see pseudo-points, which no input need reach.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from repairsolver.repairing.delta.branching import Optimum
from repairsolver.repairing.delta.candidate import Candidate
from repairsolver.repairing.delta.layer import EditableLayer
from repairsolver.repairing.delta.leaves import Tiling
from repairsolver.repairing.delta.loop import Session, learn, refine, update_bound, verify
from repairsolver.repairing.delta.pseudo_points import Programs
from repairsolver.results import Array, VerifyStatus
from repairsolver.solvers import SolutionStatus

MARGIN = 0.02
"""Of boxes and points, as a share of what was missing at the worst."""

HIGHER, RISE, GENTLE, STEEP_RISE, BACK, LONGER = 4.0, 8.0, 2, 32.0, 4.0, 1.2
"""How much larger the first margin is than for the verifier alone, as boxes are kept; how it rises, how often
so, and then; how it falls where its change is too large; and how much longer each next one may take."""

FALL, FAST_FALL, FEW_BOXES = 0.5, 0.125, 250
"""How the margin falls; and how it falls as long as boxes are few."""

MOST_CHANGE = 30.0
"""Sizes of the layer: the margin does not rise to where a change is larger."""

MOST_BOXES = 50_000

FIRST_SHARE, PROGRAM_SHARE, SEARCH_SHARE = 0.06, 0.1, 0.65
"""Of the time: for one margin before there is a first change; for the programs of one tiling; and until the
last proof begins at the latest."""

NEARLY = 0.95
"""Of the regions' volume: so much of it proved is worth as much time again, instead of a larger margin."""

EARLY_SHARE = 0.25
"""Of the time: the most for the first proof."""

GROWTH = 1.6
"""By how much the number of boxes is expected to grow when the margin falls."""

POWER, ROOM = 0.8, 0.85
"""A proof on n times as many boxes takes about n^POWER times as long (0.46 to 0.78 measured, seldom more);
and the share of the time left that it is planned for."""

ROUNDINGS = 5
"""Candidates that rounding makes miss points, before one is given up."""


def applicable(session: Session) -> bool:
    """Whether a layer with a linear tail is repaired for few regions that are proved by splitting inputs."""
    from repairsolver.verification.engine import MOST_SPLIT_INPUTS
    from repairsolver.verification.regionwise import many_regions

    prop, layer, objective = session.prop, session.layer, session.objective
    if not prop.regions or many_regions(prop) or np.isinf(session.remaining) or session.margin is not None:
        return False
    plain = objective.squares is None and objective.norm != "l0"
    if not isinstance(layer, EditableLayer) or not plain:
        return False
    if layer.scores not in (session.network.output.name, *session.network.output.inputs):
        return False
    return max(int((r.upper > r.lower).sum()) for r in prop.regions) <= MOST_SPLIT_INPUTS


def search_boxes(session: Session, start: float) -> None:
    """Look for the least change that is provable on boxes, and prove it, within the remaining time."""
    with torch.inference_mode(False):
        _Search(session, start).run()


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A change that bounds prove on so many boxes."""

    delta: Array
    boxes: int


class _Search:
    """A tiling that grows, with the programs over it."""

    def __init__(self, session: Session, start: float) -> None:
        assert isinstance(session.layer, EditableLayer)
        self.session, self.level, self.begun = session, HIGHER * start, time.perf_counter()
        self.seconds = session.remaining
        self.tiling = Tiling(session.network, session.prop, session.layer)
        self.leaves = self.tiling.roots()
        margin = MARGIN * session.problem(0.0, np.inf).scale()
        self.programs = Programs(session, self.tiling, margin, self.begun + self.seconds)
        self.proof = self.boxes = self.round = self.share = 0.0
        self.reached = start
        self.largest = MOST_CHANGE * session.layer_size

    def run(self) -> None:
        target = self._first()
        if target is None:
            return
        found = self._smaller(target)
        if not self._proved(found, EARLY_SHARE * self.seconds):
            self._proved(found, self._left)  # it goes on where it stopped
            return
        while (fresh := self._round(found)) is not None and self._proved(fresh, self._left):
            found = fresh

    def _round(self, found: _Found) -> _Found | None:
        """The newest smaller change whose proof fits into the time; None if there is none."""
        known: list[_Found] = []
        while not self.session.finished and not self._late(found):
            begun, target = time.perf_counter(), self._next(found)
            until = begun + self._left - self._foretold(GROWTH * found.boxes)
            if target is None or not self._refined(target, until):
                break
            found = self._smaller(target)
            known.append(found)
            self.round = time.perf_counter() - begun
        fit = [one for one in known if self._foretold(one.boxes) <= self._left]
        return None if not known or self.session.finished else (fit or known)[-1 if fit else 0]

    def _first(self) -> Array | None:
        """A change that is proved on boxes, with a margin that rises as long as that takes too much time."""
        share, rises, until = FIRST_SHARE, 0, self.begun + SEARCH_SHARE * self.seconds
        lowest: float | None = None
        while time.perf_counter() < until:
            target = self._target(self.level)
            if target is None or self.session.objective.value(target) > self.largest:
                if lowest is None:
                    return None
                # Between what took too long and what is too large: with all the time there is.
                self.level, share = self.level / BACK, 1.0
                if self.level <= lowest:
                    return None
                continue
            if self._refined(target, min(until, self._after(share))):
                return target
            if self.share > NEARLY and self._refined(target, min(until, self._after(share))):
                return target
            lowest, share = self.level, LONGER * share
            self.level *= RISE if rises < GENTLE else STEEP_RISE
            rises += 1
            # What was halved for smaller margins in vain is more than larger ones need.
            self.leaves = self.tiling.roots()
        return None

    def _after(self, share: float) -> float:
        """When a share of the time will have passed from now on."""
        return time.perf_counter() + share * self.seconds

    def _refined(self, target: Array, until: float) -> bool:
        """Halve the boxes that bounds do not prove under a change; whether all are proved then."""
        self.leaves, place, self.share = self.tiling.refined(self.leaves, target, until, MOST_BOXES)
        self.programs.cuts = self.programs.cuts.of(place)
        return self.share == 1

    def _smaller(self, target: Array) -> _Found:
        self.reached = self.level
        until = self._after(PROGRAM_SHARE)
        found = self.programs.provable(self.leaves, target, until)
        cost, count = self.programs.cost(found), len(self.leaves)
        self.session.emit(
            "boxes", f"margin {self.level:.3g}: {count} boxes, provable at {cost:.6g}", boxes=count, cost=cost
        )
        return _Found(found, count)

    def _next(self, found: _Found) -> Array | None:
        """The change of the next smaller margin that costs less; None if none does."""
        cost, lowest = self.programs.cost(found.delta), self.programs.margin
        fall = FAST_FALL if len(self.leaves) < FEW_BOXES else FALL
        while self.level * fall > lowest:
            self.level *= fall
            target = self.programs.at_points(self.level)
            if target is not None and self.programs.cost(target) < cost:
                return self._target(self.level)
        return None

    def _target(self, margin: float) -> Array | None:
        """The least change with this margin at all points, those included that an attack on it finds."""
        session = self.session
        while (delta := self.programs.at_points(margin)) is not None:
            candidate = session.candidate(_optimum(delta), margin)
            if session.finished or not refine(session, candidate, session.remaining):
                return delta
        return None

    @property
    def _left(self) -> float:
        """Seconds for a last proof: half of what is kept for the end may go, which needs less as a rule."""
        return (self.session.remaining + self.session.left) / 2

    def _foretold(self, boxes: float) -> float:
        """Seconds that a proof on so many boxes should take, from the newest one."""
        return self.proof * float(max(1.0, boxes / self.boxes) ** POWER)

    def _late(self, found: _Found) -> bool:
        """Whether the proof of a finer tiling would come too late."""
        return self.round + self._foretold(GROWTH * found.boxes) > ROOM * self._left

    def _proved(self, found: _Found, seconds: float) -> bool:
        """Write a change into the file and have the verifier prove it."""
        session, candidate = self.session, self._written(found.delta)
        if candidate is None:
            return False
        verdict = verify(session, candidate.network, min(seconds, self._left))
        session.judge(candidate, verdict)
        self.proof, self.boxes = verdict.seconds, found.boxes
        if verdict.status is VerifyStatus.VIOLATED:
            learn(session, verdict)
        if verdict.status is not VerifyStatus.HOLDS:
            return False
        session.accept(replace(candidate, verdict=verdict))
        update_bound(session)
        return True

    def _written(self, delta: Array | None) -> Candidate | None:
        """The candidate of a change, or of another where rounding makes it miss points; None if not."""
        session = self.session
        for _ in range(ROUNDINGS):
            if delta is None:
                return None
            candidate = session.candidate(_optimum(delta), self.programs.margin)
            missed = session.requirements.missed(candidate.network)
            if not missed:
                return candidate
            session.requirements.raise_floors(missed)
            target = self._target(self.reached)
            if target is None or not self._refined(target, self._after(FIRST_SHARE)):
                return None
            delta = self._smaller(target).delta
        return None


def _optimum(delta: Array) -> Optimum:
    return Optimum(SolutionStatus.FEASIBLE, delta, np.inf, 0.0, {}, 0)
