"""What a repair from examples says of itself: status, message, change and fidelity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from repairsolver.decision import Decision
from repairsolver.metrics import Fidelity, fidelity
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.repairing.imitation.behaviour import Behaviours, unseen
from repairsolver.repairing.imitation.writing import change_between
from repairsolver.repairing.result import Repair
from repairsolver.results import RepairStatus, Verdict, VerifyStatus

if TYPE_CHECKING:
    from repairsolver.repairing.imitation.method import Course

FRESH = 20_000
"""Samples of the regions among which unseen counterexamples are looked for."""


def measured(
    course: Course,
    best: Network,
    behaviours: Behaviours,
    points: PointSet | None,
    keep: PointSet | None,
    decision: Decision,
) -> Fidelity | None:
    """On the domain given, or in the regions; with fresh counterexamples."""
    box = course.how.domain
    lower, upper = (None, None) if box is None or isinstance(box, PointSet) else box
    if lower is None and not course.prop.regions:
        return None
    negatives = None
    if len(behaviours.negatives):
        negatives = points or PointSet(behaviours.negatives, name="negatives")
    return fidelity(
        course.network,
        best,
        lower,
        upper,
        decision=decision,
        seed=course.seed,
        prop=course.prop,
        points=negatives,
        keep=keep,
        unseen=unseen(course.network, course.prop, FRESH, course.seed),
        seconds=None if np.isinf(course.left) else max(course.left, 1.0),
    )


def holds(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.status is VerifyStatus.HOLDS


def answer(
    course: Course,
    best: Network,
    verdict: Verdict | None,
    behaviours: Behaviours,
    kept: Fidelity | None,
    prefix: str = "",
) -> Repair:
    status, message = _status(course, best, verdict, behaviours)
    if course.origin:
        message = f"{message}; method delta started from {course.origin}"
    edit = change_between(course.network, best)
    norm = course.aim.norm if course.aim.norm in ("l0", "l1", "l2", "linf") else "l1"
    return Repair(
        status=status,
        network=best,
        edit=edit,
        norm=norm,
        cost=None if edit is None else edit.norm(norm),
        lower_bound=0.0,
        gap=None if edit is None else float(edit.count > 0),
        fidelity=kept,
        verdict=verdict,
        rounds=course.rounds,
        seconds=course.seconds,
        seed=course.seed,
        solver=course.solver if course.solved else "",
        message=prefix + message,
        empirical=True,
    )


def _status(
    course: Course, best: Network, verdict: Verdict | None, behaviours: Behaviours
) -> tuple[RepairStatus, str]:
    wrong, count = 0, len(behaviours.negatives)
    if count:
        wrong = int((behaviours.lack(best(behaviours.negatives)) >= 0).sum())
    shown = f"{count - wrong} of {count} negatives are right now"
    if not count and not holds(verdict):
        return RepairStatus.UNKNOWN, (
            "no sample and no attack found a violation, and none was excluded: there is nothing to repair; "
            "give counterexamples as points, or look harder with `repairsolver falsify`"
        )
    if holds(verdict) and not (behaviours.labels is not None and wrong):
        return RepairStatus.REPAIRED, f"the property is proved of the network; {shown}"
    if verdict is not None and verdict.status is VerifyStatus.VIOLATED:
        return RepairStatus.UNKNOWN, f"{shown}, but inputs that violate the property are left"
    late = course.left <= 0 or (verdict is not None and verdict.status is VerifyStatus.TIMEOUT)
    status = RepairStatus.TIMEOUT if late else RepairStatus.UNKNOWN
    return status, f"{shown}; the property is NOT proved of this network, only tested"
