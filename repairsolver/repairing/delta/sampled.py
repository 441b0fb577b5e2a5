r"""Method `delta` for domains that are too large to prove: the least change for points, judged by fresh
samples.

The least change is sought, with a margin, that mends all violations known; the network that it makes is then
sampled: inputs that no repair has seen, as they follow from its own hash. Violations among them, and those
that an attack finds, are known from then on. Candidate i is tested at the level $\eta / (i (i + 1))$; these
sum up to $\eta$, so that with probability $1 - \eta$ no candidate is accepted wrongly, however many there are
and whatever they depend on.

Where the domain is characterised (`sampling.characterise`), the parts in which its model says that the
property is violated each give points of their own, so that the repair sees all of them and not only the most
likely ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from repairsolver.decision import Decision
from repairsolver.metrics import fidelity
from repairsolver.network.graph import Network
from repairsolver.property.specification import Property
from repairsolver.repairing.delta.addressing import Choice
from repairsolver.repairing.delta.candidate import Candidate
from repairsolver.repairing.delta.localise import AUTO, choose_layer
from repairsolver.repairing.delta.loop import TIGHTENING, Session, search, update_bound
from repairsolver.repairing.delta.margin import START
from repairsolver.repairing.delta.method import begin_session, result_of
from repairsolver.repairing.delta.sequential import least
from repairsolver.repairing.delta.sparing import spare_decisions
from repairsolver.repairing.result import Repair
from repairsolver.results import Array, Interrupted, Limits, RepairStatus
from repairsolver.sampling.characterise import characterise_property
from repairsolver.sampling.sampler import sample_property
from repairsolver.sampling.scenario import MOST_INPUTS
from repairsolver.sampling.statement import Statement

LEAVES, MODEL_EPSILON, MODEL_SECONDS, MODEL_SHARE = 16, 0.01, 3.0, 0.15
"""Parts of the domain, the epsilon and eta of their models, and the time for them: seconds, and share."""

ALONE = "Attacks and samples alone said where it is wrong."

MOST_POINTS = 200
"""Violations that one statement adds."""

ATTACK_SECONDS = 2.0
REPLAYS = 20
"""Corrections of one candidate by its replay."""

RISE, FALL, LEAST = 2.0, 4.0, 1e-6
"""How the margin grows when nothing new is found, and falls when it is out of reach; and where that ends."""


@dataclass(frozen=True, slots=True)
class Level:
    """What is to be shown: P(violation) <= epsilon with confidence 1 - eta.

    Args:
        attempts: candidates that were tested before, at their shares of eta.
    """

    epsilon: float
    eta: float
    attempts: int = 0

    @property
    def spent(self) -> float:
        """The share of eta for the next candidate."""
        return 1.0 / ((self.attempts + 1) * (self.attempts + 2))


def repair_by_samples(
    network: Network,
    prop: Property,
    *,
    level: Level,
    known: Array | None = None,
    choice: Choice,
    **wishes: Any,
) -> Repair:
    """The least change after which samples show that P(violation) <= epsilon; `repaired-pac` if there is one.

    Args:
        known: inputs [k, n] that are known to violate.
        wishes: those of `engine.Method`.

    Raises:
        Interrupted: Ctrl-C; its result has the last candidate, if there is one.
    """
    begin = _beginning(network, prop, **wishes)
    why = ""
    if choice.layers == AUTO:
        choice, why = choose_layer(begin, network, choice)
        why = f"; {why}"
    session = begin(choice)
    decision: Decision = wishes["decision"]
    course = Course()
    try:
        _search(session, level, known, decision, course)
        if course.candidate is not None and session.remaining > 0:
            update_bound(session)
    except KeyboardInterrupt:
        raise Interrupted(_stopped(session, course)) from None
    candidate, statement, message = course.candidate, course.statement, course.message
    shown = statement is not None and statement.accepted
    late = session.remaining <= 0
    status = RepairStatus.PAC if shown else RepairStatus.TIMEOUT if late else RepairStatus.UNKNOWN
    kept = None
    if candidate is not None:
        kept = fidelity(
            network, candidate.network, decision=decision, seed=session.seed,
            prop=prop, points=wishes["points"], keep=wishes["keep"],
            seconds=None if math.isinf(session.left) else max(session.left, 1.0),
        )  # fmt: skip
    fix = result_of(session, status, candidate, session.lower, kept, f"{message}{why}")
    unmodelled = unmodelled_because(prop)
    remarks = (*fix.remarks, unmodelled) if unmodelled else fix.remarks
    return replace(fix, statement=statement, remarks=remarks)


def _beginning(network: Network, prop: Property, **wishes: Any) -> Callable[[Choice], Session]:
    started = time.perf_counter()

    def begin(choice: Choice) -> Session:
        return begin_session(network, prop, choice, started=started, **wishes)

    return begin


@dataclass(slots=True)
class Course:
    """What a search has so far: its last candidate, and the statement that accepts it, if one does."""

    candidate: Candidate | None = None
    statement: Statement | None = None
    message: str = "the best candidate mends every violation known, but samples do not accept it"


def _stopped(session: Session, course: Course) -> Repair:
    """What Ctrl-C leaves."""
    accepted = course.statement is not None and course.statement.accepted
    status = RepairStatus.PAC if accepted else RepairStatus.UNKNOWN
    message = "interrupted; the last candidate, which mends all violations known then"
    fix = result_of(session, status, course.candidate, session.lower, None, message)
    return replace(fix, statement=course.statement)


def _search(session: Session, level: Level, known: Array | None, decision: Decision, course: Course) -> None:
    """Look for a candidate that samples accept; the course has it, or the last one."""
    session.requirements.forbid(session.prop, _violations(session, known))
    if not session.requirements.missed(session.network):
        course.candidate, course.statement, course.message = _unchanged(session, level)
        return
    spare_decisions(session, decision, session.gap / 2)
    start = START * session.problem(0.0, np.inf).scale()
    margin = start
    while session.remaining > 0 and session.rounds < session.limits.rounds:
        found = _candidate(session, margin)
        if found is None:
            margin /= FALL
            if margin < LEAST * start:
                course.message = "no change of this layer mends all violations known, with a margin"
                return
            continue
        course.candidate = candidate = found
        statement = sampled(session, candidate.network, level)
        level = replace(level, attempts=level.attempts + 1)
        if statement.accepted:
            course.statement = statement
            course.message = f"shown by samples that no repair has seen: {statement.claim}"
            return
        worst = np.array([c.input for c in statement.counterexamples]).reshape(-1, session.prop.input_size)
        near = search(session, candidate.network, TIGHTENING * margin, min(ATTACK_SECONDS, session.remaining))
        if not session.requirements.forbid(session.prop, np.concatenate([worst, near])):
            margin *= RISE


def _violations(session: Session, known: Array | None) -> Array:
    """Violations of the network as it is: those known, and what an attack finds."""
    given = np.zeros((0, session.prop.input_size)) if known is None else known
    given = np.concatenate([given, _of_parts(session)])
    return np.concatenate(
        [given, search(session, session.network, 0.0, min(ATTACK_SECONDS, session.remaining))]
    )


def _of_parts(session: Session) -> Array:
    """The worst violations among the samples of every part of the domain that its model calls violated."""
    if unmodelled_because(session.prop):
        return np.zeros((0, session.prop.input_size))
    seconds = MODEL_SECONDS if math.isinf(session.left) else min(MODEL_SECONDS, MODEL_SHARE * session.left)
    found = characterise_property(
        session.network, session.prop, epsilon=MODEL_EPSILON, eta=MODEL_EPSILON, leaves=LEAVES,
        limits=Limits(seconds=max(seconds, 0.01)), seed=session.seed,
    )  # fmt: skip
    session.emit("model", repr(found), boxes=len(found.boxes))
    return found.examples


def unmodelled_because(prop: Property) -> str:
    """Why the domain is not characterised; empty if it is."""
    regions = [region for region in prop.regions if region.unsafe]
    varying = max(int((region.upper > region.lower).sum()) for region in regions)
    if varying > MOST_INPUTS:
        return f"The domain was not characterised: {varying} inputs vary, at most {MOST_INPUTS} may. {ALONE}"
    if len(regions) > LEAVES:
        return f"The domain was not characterised: {len(regions)} regions, at most {LEAVES} may be. {ALONE}"
    return ""


def _unchanged(session: Session, level: Level) -> tuple[Candidate | None, Statement | None, str]:
    """No violation is known: perhaps nothing need be changed."""
    statement = sampled(session, session.network, level)
    if not statement.accepted:
        return None, None, "no violation was found by attacks, but samples do not accept the network"
    candidate = Candidate(session.network, np.zeros(session.layer.size), 0.0, 0.0)
    return candidate, statement, f"nothing was changed: shown by samples: {statement.claim}"


def _candidate(session: Session, margin: float) -> Candidate | None:
    """The least change that mends all violations known by a margin, as its replay confirms."""
    for _ in range(REPLAYS):
        problem = session.problem(margin, session.remaining)
        problem.weights = session.weights
        optimum = least(problem, shared=True)
        if optimum.delta is None:
            optimum = least(problem, shared=False)
        if optimum.delta is None:
            return None
        candidate = session.candidate(optimum, margin)
        missed = session.requirements.missed(candidate.network)
        if not missed:
            return candidate
        session.requirements.raise_floors(missed)
    return None


def sampled(session: Session, network: Network, level: Level) -> Statement:
    """A statement about a candidate, from samples of its own."""
    limits = session.limits
    if not math.isinf(session.remaining):
        limits = replace(limits, seconds=max(session.remaining, 0.01))
    statement = sample_property(
        network, session.prop, epsilon=level.epsilon, eta=level.eta, limits=limits, seed=session.seed,
        spent=level.spent, shown=MOST_POINTS,
    )  # fmt: skip
    session.emit("sample", f"candidate {session.rounds}: {statement.claim}; {statement.counts}")
    return statement
