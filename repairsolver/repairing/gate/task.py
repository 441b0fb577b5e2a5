"""One place whose neurons are to be overridden: the points that decide how, and what samples add to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from repairsolver.decision import Decision, moved
from repairsolver.network.gated import Override
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property, Region
from repairsolver.repairing.gate.placement import Layer, Wanted, overridden
from repairsolver.repairing.gate.regions import Place
from repairsolver.repairing.gate.scores import samples, scores, violation
from repairsolver.repairing.gate.session import Session
from repairsolver.results import Array
from repairsolver.verification.attack import Effort, attack

FIRST_VIOLATING, FIRST_KEPT, FIRST_KEPT_LAST = 12, 12, 48
"""Points of a place that the first program is about: violating ones, and others; more in the last layer."""

MORE = 16
"""Samples of each kind that a program gets wrong and that the next one is also about."""

MOST_KEPT, MOST_KEPT_LAST = 48, 400
"""Samples whose decision a program keeps, at most."""

MARGIN = 0.16
"""Margin of the first program, as a share of the scores' spread in the place: what a proof needs."""

STRICTER = 2.0
"""By how much the margin grows where an override gets wrong what its program is about."""

EFFORT = Effort(samples=4096, restarts=32, steps=30, rounds=1, keep=64)


@dataclass(slots=True, eq=False)
class Task:
    """One place: its points so far, and the margin that violating ones are to have.

    Args:
        samples: uniform inputs of the place.
        violating: inputs that are to satisfy the property.
        kept: safe inputs whose decision is to stay.
        lead: by how much.
        keeping: whether more kept samples are of use; not once decisions had to be given up.
    """

    place: Place
    region: Region
    samples: Array
    violating: Array
    kept: Array
    margin: float
    lead: float
    keeping: bool = True
    counterexamples: list[Array] = field(default_factory=list)

    def wanted(self, decision: Decision) -> Wanted:
        points = np.unique(np.vstack([self.violating, *self.counterexamples]), axis=0)
        return Wanted(self.region.unsafe, points, self.margin, self.kept, self.lead, decision)


def begin(session: Session, place: Place, last: bool) -> Task:
    """Points of a place: violating ones, found by chance and by attack, and some others."""
    region = session.prop.regions[place.region]
    points = samples(session.network, place, region, session.seed)
    wrong = violation(region, points, session.network(points)) >= 0
    corners = [
        (np.maximum(low, region.lower), np.minimum(high, region.upper))
        for low, high in zip(place.lower, place.upper, strict=True)
    ]
    own = Property(
        tuple(Region(low, high, region.unsafe) for low, high in corners if (low <= high).all()),
        session.prop.input_size,
        session.prop.output_size,
    )
    hits = attack(session.network, own, seed=session.seed, effort=EFFORT, worst=True, seconds=2.0)
    found = [c.input for c in hits[: FIRST_VIOLATING // 2]]
    chosen = np.vstack([points[wrong][: FIRST_VIOLATING - len(found)], *found])
    kept = points[~wrong][: FIRST_KEPT_LAST if last else FIRST_KEPT]
    spread = float(np.ptp(scores(session.network, points), axis=0).max(initial=0.0))
    margin = max(MARGIN * spread, 1e-6)
    return Task(place, region, points, chosen, kept, margin, margin)


def within(place: Place, point: Array) -> bool:
    return bool(((point >= place.lower) & (point <= place.upper)).all(axis=1).any())


def learn(task: Task, core: Network, layer: Layer, change: Override, decision: Decision) -> bool:
    """Take samples that an override gets wrong: that violate, or whose decision it changes without need.

    Returns:
        Whether there were any.
    """
    own = task.wanted(decision).points
    if len(own) and (violation(task.region, own, overridden(core, layer, change, own)[1]) >= 0).any():
        # The program followed derivatives too far: what it demands is made larger.
        task.margin *= STRICTER
        return True
    before, after = overridden(core, layer, change, task.samples)
    wrong = violation(task.region, task.samples, after) >= 0
    if wrong.any():
        task.counterexamples.append(_some(task.samples[wrong]))
    lost = moved(before, after, decision)
    lost &= violation(task.region, task.samples, before) < 0
    room = (MOST_KEPT_LAST if layer.last else MOST_KEPT) - len(task.kept)
    taken = task.keeping and room > 0 and bool(lost.any())
    if taken:
        task.kept = np.unique(np.vstack([task.kept, _some(task.samples[lost])[:room]]), axis=0)
    return bool(wrong.any()) or taken


def _some(points: Array) -> Array:
    """A few, spread over all."""
    return np.asarray(points[np.linspace(0, len(points) - 1, min(MORE, len(points))).astype(int)])
