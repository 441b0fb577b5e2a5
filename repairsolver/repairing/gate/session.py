"""One repair by gates under way: its clock, the best candidate, proofs, and the choice between candidates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from repairsolver.decision import Decision
from repairsolver.metrics import Fidelity, fidelity
from repairsolver.network.gated import NewGate, add_gates
from repairsolver.network.graph import Network
from repairsolver.property import write_property
from repairsolver.property.specification import Property
from repairsolver.repairing.gate.edit import Gates
from repairsolver.repairing.gate.regions import Place
from repairsolver.repairing.gate.wishes import Gating
from repairsolver.results import Event, Limits, OnEvent, Verdict, VerifyStatus, counted
from repairsolver.verification.engine import verify_property

LONGEST = 120.0
"""Seconds of one part of the work without a limit of time."""

FIDELITY_SAMPLES, FIDELITY_SECONDS = 20_000, 5.0
"""For the choice between candidates."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Gates with the network that they make, its verdict, and what it keeps."""

    edit: Gates
    network: Network
    verdict: Verdict
    where: str
    kept: Fidelity | None = None

    @property
    def proved(self) -> bool:
        return self.verdict.status is VerifyStatus.HOLDS


@dataclass(slots=True, eq=False)
class Session:
    """One repair under way."""

    network: Network
    prop: Property
    gating: Gating
    decision: Decision
    limits: Limits
    seed: int
    on_event: OnEvent | None
    solver: str
    started: float = field(default_factory=time.perf_counter)
    rounds: int = 0
    best: Candidate | None = None
    reasons: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        return np.inf if self.limits.seconds is None else self.limits.seconds - self.seconds

    def say(self, message: str, **numbers: float) -> None:
        if self.on_event is not None:
            self.on_event(Event("gate", message, self.seconds, numbers))

    def limited(self, share: float) -> Limits:
        """Limits of a part of the work: a share of the time that is left."""
        seconds = LONGEST if np.isinf(self.left) else max(self.left * share, 0.05)
        return replace(self.limits, seconds=seconds)


def prove(
    session: Session,
    gates: Sequence[NewGate],
    where: str,
    share: float,
    *,
    most: float = np.inf,
) -> Candidate:
    """The gated network, verified.

    Args:
        share: of the time that is left.
        most: seconds.
    """
    session.rounds += 1
    asked = session.prop.text or write_property(session.prop)
    network = add_gates(session.network, gates, monitor=session.gating.monitor, asked=asked)
    session.say(f"round {session.rounds}: {counted(len(gates), 'gate')} at {where}")
    limits = session.limited(share)
    limits = replace(limits, seconds=min(most, limits.seconds or most))
    verdict = verify_property(
        network, session.prop, limits=limits, seed=session.seed + session.rounds, on_event=session.on_event,
        record=True,
    )  # fmt: skip
    edit = Gates(tuple(gates), session.network.sha256, session.gating.monitor, asked)
    return Candidate(edit, network, verdict, where)


def consider(session: Session, candidate: Candidate) -> float:
    """Keep the candidate that keeps more decisions, then changes scores less, then has fewer gates.

    Returns:
        The share of decisions in the property's regions that the new candidate keeps.
    """
    kept = fidelity(
        session.network,
        candidate.network,
        decision=session.decision,
        samples=FIDELITY_SAMPLES,
        seed=session.seed,
        prop=session.prop,
        seconds=max(1.0, min(FIDELITY_SECONDS, session.left)),
    )
    candidate = replace(candidate, kept=kept)
    if session.best is None or _rank(candidate) < _rank(session.best):
        if session.best is not None:
            session.reasons.append(f"{candidate.where}: {_why(candidate, session.best)}")
        session.best = candidate
    else:
        session.reasons.append(f"{session.best.where}: {_why(session.best, candidate)}")
    return 1.0 if kept.region_agreement is None else kept.region_agreement.value


def _rank(candidate: Candidate) -> tuple[float, float, int]:
    kept = candidate.kept
    assert kept is not None
    lost = 0.0 if kept.region_agreement is None else 1 - kept.region_agreement.value
    return round(lost, 4), float(f"{kept.mean_difference:.2g}"), candidate.edit.count


def _why(better: Candidate, other: Candidate) -> str:
    first, second = _rank(better), _rank(other)
    return (
        f"chosen before {other.where}, decisions lost {first[0]:.3%} against {second[0]:.3%}, mean change of "
        f"the scores {first[1]:.3g} against {second[1]:.3g}, {first[2]} against {second[2]} changes"
    )
