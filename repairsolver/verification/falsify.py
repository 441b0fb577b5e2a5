"""Falsification as an answer of its own: any violation, the worst one, or many different ones."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator

import numpy as np

from repairsolver.network.graph import Network
from repairsolver.property import check_fits
from repairsolver.property.specification import Property
from repairsolver.results import Counterexample, Event, Interrupted, Limits, OnEvent, VerifyStatus, counted
from repairsolver.verification.attack import Effort, attack, climb_from
from repairsolver.verification.diverse import diverse
from repairsolver.verification.engine import FIRST_EFFORT, single_threaded
from repairsolver.verification.falsification import Falsification
from repairsolver.verification.worst import bound_violation, tolerance

# Ever harder attacks, short paths first; with a limit of time the last two go on in turn with new seeds.
LADDER = (
    FIRST_EFFORT,
    Effort(samples=8192, restarts=64, steps=40, rounds=2),
    Effort(samples=4096, restarts=32, steps=200, rounds=2),
    Effort(samples=65536, restarts=128, steps=60, rounds=3),
)
# For the worst violation, or many: attacks that go on after the first violation.
PATIENT = (
    Effort(samples=8192, restarts=64, steps=40, keep=128, rounds=3),
    Effort(samples=16384, restarts=64, steps=100, keep=128, rounds=2),
)
# Counterexamples that are climbed from once more.
BEST = 16
# Of the time left: for patient attacks after the first violation, and for sampling different ones.
PATIENT_SHARE, DIVERSE_SHARE = 0.25, 0.5
# Of the limit of time: kept from the proof of a bound, where different ones are to be sampled after it.
RESERVED = 0.1


def falsify_property(
    network: Network,
    prop: Property,
    *,
    worst: bool = False,
    count: int = 1,
    limits: Limits | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
    device: str = "cpu",
) -> Falsification:
    """Search for inputs that violate a property; see `repairsolver.verbs.verifying.falsify`.

    Raises:
        PropertyError: the property does not fit the network.
        UnsupportedOperatorError: the network or property cannot be attacked.
        SoundnessError: a proved bound contradicts a replay.
        Interrupted: Ctrl-C after something was found, which is its result.
    """
    check_fits(prop, network)
    hunt = _Hunt(network, prop, limits or Limits(), seed, on_event, device)
    if not any(region.unsafe for region in prop.regions):
        return Falsification(VerifyStatus.UNKNOWN, methods=("vacuous: no region",), asked=count, seed=seed)
    with single_threaded():
        try:
            return _searched(hunt, worst, count)
        except KeyboardInterrupt:
            if not hunt.found:
                raise
            raise Interrupted(hunt.answer(VerifyStatus.VIOLATED, asked=count)) from None


def _searched(hunt: _Hunt, worst: bool, count: int) -> Falsification:
    hunt.first()
    if not hunt.found:
        return hunt.answer(VerifyStatus.UNKNOWN, asked=count)
    if worst or count > 1:
        hunt.more()
    bound = hunt.bound(RESERVED if count > 1 else 0.0) if worst else None
    if count > 1:
        hunt.spread(count)
    return hunt.answer(VerifyStatus.VIOLATED, bound, asked=count)


def _efforts(*, endless: bool) -> Iterator[Effort]:
    last = itertools.cycle(LADDER[-2:]) if endless else ()
    return itertools.chain(LADDER, last)


class _Hunt:
    """One falsification under way: what was asked, what was found, and the clock."""

    def __init__(
        self,
        network: Network,
        prop: Property,
        limits: Limits,
        seed: int,
        on_event: OnEvent | None,
        device: str,
    ) -> None:
        self.network, self.prop, self.limits = network, prop, limits
        self.seed, self.on_event, self.device = seed, on_event, device
        self.started = time.monotonic()
        self.methods = ["attack"]
        self.found: tuple[Counterexample, ...] = ()

    def left(self) -> float:
        """Seconds left, infinite without a limit."""
        return math.inf if self.limits.seconds is None else self.limits.seconds - self._elapsed()

    def first(self) -> None:
        """Attack ever harder until something is found."""
        for number, effort in enumerate(_efforts(endless=self.limits.seconds is not None)):
            if self.found or self.left() <= 0:
                return
            self.found = self._attack(effort, number, worst=False, seconds=self.left())
            self._say(
                "attack",
                f"{counted(len(self.found), 'counterexample')} after {counted(number + 1, 'attack')}",
            )

    def more(self) -> None:
        """Go on after the first violation."""
        self.methods.append("patient attack")
        seconds = PATIENT_SHARE * self.left()
        end = time.monotonic() + seconds
        for number, effort in enumerate(PATIENT):
            if time.monotonic() < end:
                again = self._attack(effort, 1 + number, worst=True, seconds=end - time.monotonic())
                self._add(again)
        best = np.array([c.input for c in self.found[:BEST]])
        self._add(climb_from(self.network, self.prop, best, device=self.device))
        self._say("attack", f"{counted(len(self.found), 'counterexample')}, replayed")

    def bound(self, reserved: float) -> float:
        """The proved upper bound on the violation; worse inputs met on the way are kept."""
        kept = reserved * (self.limits.seconds or 0.0)

        def say(message: str, violation: float, upper: float) -> None:
            self._say("bound", message, violation=violation, upper_bound=upper)

        proved = bound_violation(
            self.network, self.prop, self.found[0], limits=self.limits, left=lambda: self.left() - kept,
            say=say, seed=self.seed, device=self.device,
        )  # fmt: skip
        self.methods += proved.methods
        self._add([proved.found])
        return proved.upper

    def spread(self, count: int) -> None:
        """Keep different ones, far apart."""
        self.methods.append("farthest points")
        until = time.monotonic() + max(0.0, self.left()) * DIVERSE_SHARE
        self.found = diverse(
            self.network, self.prop, self.found, count, seed=self.seed, until=until, device=self.device
        )

    def answer(self, status: VerifyStatus, bound: float | None = None, *, asked: int) -> Falsification:
        """What was found, as a result; the worst counterexample first."""
        chosen = tuple(sorted(self.found[:asked], key=lambda c: -c.violation))
        return Falsification(
            status,
            chosen,
            bound if bound is not None and math.isfinite(bound) else None,
            tolerance(chosen[0]) if chosen else 0.0,
            tuple(self.methods),
            asked,
            self._elapsed(),
            self.seed,
        )

    def _attack(
        self, effort: Effort, number: int, *, worst: bool, seconds: float
    ) -> tuple[Counterexample, ...]:
        limit = None if math.isinf(seconds) else seconds
        return attack(
            self.network, self.prop, seed=self.seed + number, seconds=limit, effort=effort, worst=worst,
            device=self.device,
        )  # fmt: skip

    def _add(self, found: Iterable[Counterexample]) -> None:
        distinct = {c.input.tobytes(): c for c in (*self.found, *found)}
        self.found = tuple(sorted(distinct.values(), key=lambda c: -c.violation))

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _say(self, stage: str, message: str, **numbers: float) -> None:
        if self.on_event is not None:
            self.on_event(Event(stage, message, self._elapsed(), numbers))
