"""Repairs that give up points which contradict others: one at a time, each with its reason, none silently.

As long as the answer is `infeasible` with an irreducible contradiction, one of its members is left out: a
point to keep if there is one, else a point to repair, the last one given. Without any one member the others
can be met, so that each removal resolves the contradiction it is made for. The property is never weakened.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from repairsolver.property import PointSet
from repairsolver.repairing.explanation import Core, Demand
from repairsolver.repairing.result import Repair
from repairsolver.results import Limits, RepairStatus

CONTRADICTORY = ("refuse", "drop")

Attempt = Callable[[PointSet | None, PointSet | None, Limits], Repair]
"""A repair with these points to repair, points to keep, and limits."""


@dataclass(slots=True, eq=False)
class _Given:
    """Points that are left of those given, and where each stood among them."""

    points: PointSet | None
    place: np.ndarray

    def without(self, index: int) -> _Given:
        """Without all points of the same input."""
        assert self.points is not None
        kept = (self.points.inputs != self.points.inputs[index]).any(axis=1)
        if not kept.any():
            return _Given(None, self.place[:0])
        labels = None if self.points.labels is None else self.points.labels[kept]
        return _Given(PointSet(self.points.inputs[kept], labels, self.points.name), self.place[kept])


def repair_dropping(
    attempt: Attempt, points: PointSet | None, keep: PointSet | None, limits: Limits
) -> Repair:
    """The repair with as many points as its contradictions allow; `dropped` and `remarks` say which went.

    It stays `infeasible` where a contradiction holds nothing that was given, or none is found. Each attempt
    gets the time that is left.
    """
    started = time.perf_counter()
    given = {
        "points": _Given(points, np.arange(0 if points is None else len(points))),
        "keep": _Given(keep, np.arange(0 if keep is None else len(keep))),
    }
    dropped: list[Demand] = []
    remarks: list[str] = []
    while True:
        left = limits
        if limits.seconds is not None:
            left = replace(limits, seconds=max(0.01, limits.seconds - (time.perf_counter() - started)))
        fix = attempt(given["points"].points, given["keep"].points, left)
        core = None if fix.core is None else _original(fix.core, given)
        victim = None if core is None or fix.status is not RepairStatus.INFEASIBLE else _victim(core)
        if victim is None:
            seconds = time.perf_counter() - started
            return replace(
                fix, core=core, seconds=seconds, dropped=tuple(dropped), remarks=(*remarks, *fix.remarks)
            )
        assert core is not None
        assert victim.index is not None
        source = given[victim.source]
        given[victim.source] = source.without(int(np.flatnonzero(source.place == victim.index)[0]))
        dropped.append(victim)
        remarks.append(f"Dropped {victim.name}, as it contradicts others: {_others(core, victim)}")


def _original(core: Core, given: dict[str, _Given]) -> Core:
    """The contradiction with the places that points had among those given."""
    demands = tuple(
        d if d.index is None else replace(d, index=int(given[d.source].place[d.index])) for d in core.demands
    )
    return replace(core, demands=demands)


def _others(core: Core, victim: Demand) -> str:
    """The reason, and what else it is about; `fix.dropped` and a run without dropping tell every demand."""
    names = dict.fromkeys(demand.name for demand in core.demands if demand.name != victim.name)
    told = all(name in core.reason for name in names)
    return core.reason if told else f"{core.reason} The others: {', '.join(names)}."


def _victim(core: Core) -> Demand | None:
    """The member to leave out: the last point to keep, else the last one to repair; None without any."""
    for source in ("keep", "points"):
        found = [d for d in core.demands if d.source == source and d.index is not None]
        if found:
            return max(found, key=lambda demand: demand.index or 0)
    return None
