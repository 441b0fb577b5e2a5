"""Verification of many regions one by one: one that takes long holds up none of the others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import Counterexample, Limits, Verdict, VerifyStatus
from repairsolver.verification.engine import MOST_SPLIT_INPUTS, verify_property

FIRST_SECONDS = 2.0
"""For one region at the first pass, which finds most violations and most proofs."""


def many_regions(prop: Property) -> bool:
    """Whether a property has several regions, and one of them more inputs that vary than are ever split."""
    varying = [int((region.upper > region.lower).sum()) for region in prop.regions if region.unsafe]
    return len(varying) > 1 and max(varying) > MOST_SPLIT_INPUTS


@dataclass(slots=True, eq=False)
class _Pass:
    """What is known of the regions so far."""

    network: Network
    prop: Property
    limits: Limits
    seed: int
    enough: float
    until: float
    proved: list[int] = field(default_factory=list)
    violated: list[int] = field(default_factory=list)
    found: list[Counterexample] = field(default_factory=list)
    boxes: int = 0

    @property
    def left(self) -> float:
        return self.until - time.monotonic()

    @property
    def over(self) -> bool:
        return self.left <= 0 or len(self.violated) >= self.enough

    def verify(self, number: int, seconds: float) -> bool:
        """Verify one region; whether that decided it."""
        region = self.prop.regions[number]
        prop = Property((region,), self.prop.input_size, self.prop.output_size, name=self.prop.name)
        limits = replace(self.limits, seconds=None if np.isinf(seconds) else seconds)
        verdict = verify_property(self.network, prop, limits=limits, seed=self.seed)
        self.boxes += verdict.boxes
        if verdict.status is VerifyStatus.HOLDS:
            self.proved.append(number)
        elif verdict.status is VerifyStatus.VIOLATED:
            self.violated.append(number)
            self.found += verdict.counterexamples
        return verdict.status in (VerifyStatus.HOLDS, VerifyStatus.VIOLATED)


def verify_regions(
    network: Network,
    prop: Property,
    *,
    limits: Limits,
    seed: int = 0,
    order: Sequence[int] | None = None,
    enough: float = np.inf,
) -> Verdict:
    """Verify a property region by region: a short pass over all, then the open ones share the time.

    Args:
        limits: for everything; without a limit of time every open region is verified without one.
        order: of the regions, by number; all of them. Those most in doubt should come first.
        enough: the verification ends when so many regions are violated.

    Returns:
        `holds` if every region is proved, `violated` with the counterexamples of all regions found violated,
        else `timeout` or, if time was left, `unknown`. `proved_regions` are those proved.
    """
    begun = time.monotonic()
    until = np.inf if limits.seconds is None else begun + limits.seconds
    found = _Pass(network, prop, limits, seed, enough, until)
    waiting = list(range(len(prop.regions)) if order is None else order)
    for first in (True, False):
        undecided = []
        for place, number in enumerate(waiting):
            if found.over:
                undecided += waiting[place:]
                break
            seconds = min(FIRST_SECONDS, found.left) if first else found.left / (len(waiting) - place)
            if not found.verify(number, seconds):
                undecided.append(number)
        waiting = undecided
    status = VerifyStatus.TIMEOUT if found.left <= 0 else VerifyStatus.UNKNOWN
    if found.found:
        status = VerifyStatus.VIOLATED
    elif len(found.proved) == len(prop.regions):
        status = VerifyStatus.HOLDS
    worst = sorted(found.found, key=lambda c: -c.violation)
    return Verdict(
        status,
        counterexample=worst[0] if worst else None,
        counterexamples=tuple(worst),
        proved_volume=1.0 if status is VerifyStatus.HOLDS else 0.0,
        methods=("region by region",),
        boxes=found.boxes,
        seconds=time.monotonic() - begun,
        seed=seed,
        proved_regions=tuple(sorted(found.proved)),
    )
