"""Verification of many regions one by one: one that takes long holds up none of the others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.results import Counterexample, Limits, Verdict, VerifyStatus
from repairsolver.verification.engine import MOST_SPLIT_INPUTS, verify_property
from repairsolver.verification.replay import belongs

FIRST_SECONDS = 2.0
"""For one region at the first pass, which finds most violations and most proofs."""


MANY = 20
"""Regions that are many even where their inputs are few."""

WHOLE_SHARE, AGAIN = 0.25, 10
"""The share of the time for regions at once, where their inputs can be split; and how often it is tried."""


def many_regions(prop: Property) -> bool:
    """Whether a property has several regions with more inputs that vary than are ever split, or many."""
    count = sum(bool(region.unsafe) for region in prop.regions)
    return count >= MANY or (count > 1 and not splits_inputs(prop))


def splits_inputs(prop: Property) -> bool:
    """Whether every region has so few inputs that vary that the verifier splits them."""
    varying = [int((region.upper > region.lower).sum()) for region in prop.regions if region.unsafe]
    return max(varying, default=0) <= MOST_SPLIT_INPUTS


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

    def without(self, waiting: Iterable[int], found: Sequence[Counterexample]) -> list[int]:
        """The regions that none of these counterexamples violates; the others are violated."""
        inputs = np.array([c.input for c in found]).reshape(-1, self.prop.input_size)
        outputs = np.array([c.output for c in found]).reshape(-1, self.prop.output_size)
        left: list[int] = []
        for number in waiting:
            region = self.prop.regions[number]
            inside = belongs(inputs, region, self.network.element) | region.contains(inputs)
            ways = (unsafe.violation(inputs[inside], outputs[inside]) for unsafe in region.unsafe)
            hit = any((way >= 0).any() for way in ways)
            (self.violated if hit else left).append(number)
        self.found += found
        return left

    def together(self, waiting: list[int]) -> list[int]:
        """Verify regions at once, and again without those that are violated; the undecided ones."""
        for _ in range(AGAIN):
            if not waiting or self.over:
                break
            verdict = self.verdict(waiting, WHOLE_SHARE * self.left)
            if verdict.status is VerifyStatus.HOLDS:
                self.proved += waiting
                return []
            if verdict.status is not VerifyStatus.VIOLATED:
                break
            before, waiting = len(waiting), self.without(waiting, verdict.counterexamples)
            if len(waiting) == before:
                break
        return waiting

    def verdict(self, numbers: Sequence[int], seconds: float) -> Verdict:
        """What the verifier says of some regions."""
        regions = tuple(self.prop.regions[number] for number in numbers)
        prop = Property(regions, self.prop.input_size, self.prop.output_size, name=self.prop.name)
        limits = replace(self.limits, seconds=None if np.isinf(seconds) else seconds)
        verdict = verify_property(self.network, prop, limits=limits, seed=self.seed)
        self.boxes += verdict.boxes
        return verdict

    def verify(self, number: int, seconds: float) -> bool:
        """Verify one region; whether that decided it."""
        verdict = self.verdict([number], seconds)
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
    known: Sequence[Counterexample] = (),
) -> Verdict:
    """Verify a property region by region: a short pass over all, then the open ones share the time.

    Where inputs can be split, those that no counterexample is known of are first tried at once, again and
    again without those that turn out to be violated.

    Args:
        limits: for everything; without a limit of time every open region is verified without one.
        order: of the regions, by number; all of them. Those most in doubt should come first.
        enough: the verification ends when so many regions are violated.
        known: replayed counterexamples; the regions that they lie in are not verified.

    Returns:
        `holds` if every region is proved, `violated` with the counterexamples of all regions found violated,
        else `timeout` or, if time was left, `unknown`. `proved_regions` are those proved.
    """
    begun = time.monotonic()
    until = np.inf if limits.seconds is None else begun + limits.seconds
    found = _Pass(network, prop, limits, seed, enough, until)
    waiting = found.without(range(len(prop.regions)) if order is None else order, known)
    if splits_inputs(prop):
        waiting = found.together(waiting)
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
