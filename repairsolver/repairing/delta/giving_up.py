r"""Regions that are given up for the sake of the points to keep: those that cost most of them.

In training at worst points, a region r that holds by little stands in the way of the points to keep where a
step that lowers their loss K violates it. With \(L_r\) what its worst point lacks of a few margins, times
the weight that r has gained by staying violated, its price is the rate at which it does,

$$ \pi_r = -\langle \nabla L_r,\; S\, \nabla K \rangle, $$

with S the squared sizes of the stored entries, in whose units steps are taken. The dearest regions are given
up, a few at a time, and training goes on in between, as prices change with every region that is gone. A
region that is given up keeps its number, and asks for nothing. The property is not weakened by this: the
answer is at most `unknown`, and says which regions are proved and which were given up.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from repairsolver.errors import EditError
from repairsolver.property import PointSet
from repairsolver.property.specification import Property, place_name
from repairsolver.repairing.delta.loop import Session
from repairsolver.repairing.delta.worst import WorstPoints
from repairsolver.repairing.result import Repair
from repairsolver.results import Array, RepairStatus, VerifyStatus, counted
from repairsolver.verification.regionwise import MANY, many_regions, splits_inputs

SHOWN = 40
"""Numbers of regions in a message, from 1; everywhere else they count from 0."""


def check(session: Session, keep: PointSet | None) -> None:
    """Refuse to give up regions where they have no price.

    Raises:
        EditError: says what is missing.
    """
    count = len(session.prop.regions)
    if not 0 <= session.give_up < max(count, 1):
        raise EditError(
            f"give_up is {session.give_up}, but the property has {counted(count, 'region')} and one must be "
            f"left: expected 0 to {max(count - 1, 0)}"
        )
    if session.give_up and session.layer.affine:
        raise EditError(
            "regions are given up where hidden layers are trained for many regions at once, and layer "
            f"{session.layer.name!r} is the only one chosen: take layers='all', or leave out give_up"
        )
    rest = without(session.prop, list(range(session.give_up)))
    if session.give_up and not many_regions(rest):
        raise EditError(
            f"regions are given up where at least {MANY} are left to be repaired at once; give_up="
            f"{session.give_up} leaves {count - session.give_up}: lower it, or leave it out"
        )
    if session.give_up and (keep is None or not splits_inputs(session.prop)):
        raise EditError("regions are given up for points to keep, in few inputs: give keep, with keep_soft")


def give_up(session: Session, training: WorstPoints, count: int) -> None:
    """Give up the dearest regions, at most so many of those that cost anything."""
    priced = prices(training, len(session.prop.regions))
    dearest = np.argsort(-priced, kind="stable")[:count]
    gone = sorted({*session.given_up, *(int(r) for r in dearest if priced[r] > 0)})
    fresh = len(gone) - len(session.given_up)
    session.given_up = tuple(gone)
    session.prop = without(session.prop, gone)
    groups = session.requirements.groups
    for name in [n for n in groups if any(n.startswith(f"{place_name(number)}, ") for number in gone)]:
        del groups[name]
    training.ask(session.prop)
    session.emit("train", f"{counted(fresh, 'region')} given up, {len(gone)} in all", given_up=len(gone))


def without(prop: Property, numbers: list[int]) -> Property:
    """The property that asks for nothing in these regions; all keep their numbers."""
    regions = tuple(
        replace(region, unsafe=()) if number in numbers else region
        for number, region in enumerate(prop.regions)
    )
    return Property(regions, prop.input_size, prop.output_size, name=f"{prop.name} without {len(numbers)}")


def prices(training: WorstPoints, count: int) -> Array:
    """The price of every region, [count]; 0 for those that hold by far."""
    found = np.zeros(count)
    with torch.inference_mode(False), torch.enable_grad():
        kept, losses = training.losses()
        scale = torch.cat(
            [torch.full((d.numel(),), training.size[n] ** 2) for n, d in training.change.items()]
        )
        pull = scale * training.slope(kept)
        for number, owner in enumerate(training.owner):
            if float(losses[number].detach()) > 0:
                found[owner] -= float(training.slope(losses[number]) @ pull)
    return found


def told(session: Session, fix: Repair) -> Repair:
    """The answer about the property as it was given, with the regions that were given up."""
    if not session.given_up:
        return fix
    gone, count, verdict = session.given_up, len(session.prop.regions), fix.verdict
    proved: tuple[int, ...] = ()
    if verdict is not None:
        proved = tuple(sorted(set(verdict.proved_regions or ()) - set(gone)))
        unknown = VerifyStatus.UNKNOWN if verdict.status is VerifyStatus.HOLDS else verdict.status
        verdict = replace(verdict, status=unknown, proved_regions=proved, proved_volume=0.0)
    shown = ", ".join(str(number + 1) for number in gone[:SHOWN]) + (", ..." if len(gone) > SHOWN else "")
    were, why = ("was", "it costs") if len(gone) == 1 else ("were", "they cost")
    message = (
        f"the candidate is proved on {len(proved)} of {count} regions; {len(gone)} {were} given up, as "
        f"{why} most of the points to keep: {shown}"
    )
    status = RepairStatus.UNKNOWN if fix.status is RepairStatus.REPAIRED else fix.status
    return replace(fix, status=status, verdict=verdict, message=message, given_up=gone, minimal=False)
