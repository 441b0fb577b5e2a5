"""Changes of hidden layers for many regions at once: ways to find one, in order; each is proved afterwards.

Many regions with many inputs, such as robustness balls: spare neurons are given new work where points to keep
say which are spare (`spare`), else the change is trained on bounds (`training`). Many regions with few
inputs: it is trained at their worst points (`worst`), in rounds, with the verifier's counterexamples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from repairsolver.repairing.delta.branching import Optimum
from repairsolver.repairing.delta.candidate import Candidate
from repairsolver.repairing.delta.loop import Session, search, verify
from repairsolver.repairing.delta.worst import WorstPoints
from repairsolver.results import Array, Verdict, VerifyStatus
from repairsolver.solvers import SolutionStatus
from repairsolver.verification.regionwise import many_regions, splits_inputs

MARGIN, SHARE = 0.025, 0.5
"""The margin that is trained for, as a share of the worst violation; and the share of the time."""

FIRST_STEPS, NEXT_STEPS, MOST_ROUNDS = 2000, 600, 12
"""Of training at worst points: steps of the first round and of the others; and the most rounds."""

PARTS, GIVING_SHARE = 3, 0.2
"""In how many parts regions are given up, and the share of the remaining time for training after each."""

HALVINGS, WAY_BACK, LONGER = 4, 0.25, 2.0
"""Of the way back to the original weights; the share of the time for it; and how many times as long as the
first proof each of the others may take."""


def attempt(session: Session) -> bool:
    """Try to find a change for all regions at once; whether one is proved.

    One that is not counts, too, as the closest so far, unless it fails at points that must be right.
    """
    if session.layer.affine or not many_regions(session.prop):
        return False
    if splits_inputs(session.prop):
        return _judged(session, _worst_points(session), "training at worst points") and _back(session)
    if _judged(session, _rewired(session), "new work for spare neurons"):
        return True
    return _judged(session, _trained(session), "training on bounds") and _back(session)


def _judged(session: Session, deltas: Iterator[Array], how: str) -> bool:
    """Verify changes as they come, until one is proved."""
    for delta in deltas:
        candidate = _candidate(session, delta)
        missed = session.requirements.missed(candidate.network)
        count = sum(len(points) for points in missed.values())
        session.emit("train", f"a change by {how}; it misses {count} points", missed=count)
        if any(session.requirements.groups[name].every for name in missed):
            session.last = session.closest
            continue
        verdict = verify(session, candidate.network, session.remaining, enough=np.inf)
        session.judge(candidate, verdict)
        if verdict.status is VerifyStatus.HOLDS and not missed:
            session.accept(replace(candidate, verdict=verdict))
            return True
        if session.remaining <= 0:
            break
    return False


def _candidate(session: Session, delta: Array) -> Candidate:
    found = Optimum(SolutionStatus.FEASIBLE, delta, np.inf, 0.0, {}, 0)
    return session.candidate(found, _margin(session))


def _margin(session: Session) -> float:
    return MARGIN * session.problem(0.0, np.inf).scale()


def _rewired(session: Session) -> Iterator[Array]:
    from repairsolver.repairing.delta.spare import rewired

    if not np.isinf(session.objective.roundable).all():
        return  # new work needs large changes
    unit = session.problem(0.0, np.inf).scale()
    delta = rewired(
        session.network, session.prop, session.requirements,
        unit=unit, seconds=SHARE * session.remaining, seed=session.seed,
    )  # fmt: skip
    if delta is not None:
        yield delta


def _trained(session: Session) -> Iterator[Array]:
    from repairsolver.repairing.delta.training import trainable, trained

    if not trainable(session.network, session.layer):
        return
    delta = trained(
        session.network, session.prop, session.requirements,
        margin=_margin(session), reach=np.asarray(session.objective.roundable),
        seconds=SHARE * session.remaining, seed=session.seed,
    )  # fmt: skip
    if delta is None:
        session.emit("train", "the time was up before the boxes were whole")
    else:
        yield delta


def _worst_points(session: Session) -> Iterator[Array]:
    reach, seed = np.asarray(session.objective.roundable), session.seed
    training = WorstPoints(
        session.network, session.prop, session.requirements, margin=_margin(session), reach=reach, seed=seed
    )
    for number in range(MOST_ROUNDS):
        until = time.monotonic() + (SHARE if number == 0 else 1.0) * session.remaining
        training.run(FIRST_STEPS if number == 0 else NEXT_STEPS, until)
        if number == 0 and session.give_up:
            _give_up(session, training)
        yield training.delta()
        training.visit(_counterexamples(session.last))


def _give_up(session: Session, training: WorstPoints) -> None:
    """Give up regions, a part at a time, and train on for the others."""
    from repairsolver.repairing.delta.giving_up import give_up

    for part in range(PARTS):
        give_up(session, training, session.give_up * (part + 1) // PARTS - session.give_up * part // PARTS)
        training.run(NEXT_STEPS, time.monotonic() + GIVING_SHARE * session.remaining)


def _counterexamples(candidate: Candidate | None) -> Array:
    found: Verdict | None = None if candidate is None else candidate.verdict
    return np.array([c.input for c in found.counterexamples]) if found is not None else np.zeros((0, 0))


def _back(session: Session) -> bool:
    """Go back towards the original weights as far as proofs allow: the cheapest proved change on the way."""
    assert session.best is not None
    whole, until = session.best.delta, session.seconds + WAY_BACK * session.remaining
    took = 1.0 if session.best.verdict is None else 1.0 + session.best.verdict.seconds
    right, wrong = 1.0, 0.0
    for _ in range(HALVINGS):
        if session.seconds > until or session.finished:
            break
        share = (right + wrong) / 2
        candidate = _candidate(session, share * whole)
        session.emit("train", f"{share:.3f} of the change")
        if _holds(session, candidate, max(0.1, min(until - session.seconds, LONGER * took))):
            right = share
        else:
            wrong = share
    return True


def _holds(session: Session, candidate: Candidate, seconds: float) -> bool:
    if session.requirements.missed(candidate.network) or len(
        search(session, candidate.network, 0.0, min(seconds, 2.0))
    ):
        return False
    verdict = verify(session, candidate.network, seconds, enough=1)
    if verdict.status is not VerifyStatus.HOLDS:
        return False
    session.accept(replace(candidate, verdict=verdict))
    return True
