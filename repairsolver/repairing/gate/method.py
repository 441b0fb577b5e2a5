"""Method `gate`: the weights stay; gates override the network where it goes wrong, proved everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from repairsolver.decision import Decision, moved
from repairsolver.errors import EditError
from repairsolver.metrics import evaluate
from repairsolver.network.gated import asked_of
from repairsolver.network.gates import gates_of
from repairsolver.network.graph import Network
from repairsolver.property import PointSet
from repairsolver.property.specification import Property
from repairsolver.repairing.gate.edit import Gates
from repairsolver.repairing.gate.inner import try_inner
from repairsolver.repairing.gate.regions import (
    BOXES,
    SLACK,
    Place,
    covered_share,
    extended,
    find_places,
    places_around,
    whole_regions,
)
from repairsolver.repairing.gate.scores import output_gates, samples, violation
from repairsolver.repairing.gate.session import Candidate, Session, consider, prove
from repairsolver.repairing.gate.wishes import Gating
from repairsolver.repairing.result import Repair
from repairsolver.results import (
    Interrupted,
    Limits,
    OnEvent,
    RepairStatus,
    Verdict,
    VerifyStatus,
    counted,
)
from repairsolver.verification.attack import Effort, attack
from repairsolver.verification.engine import MOST_SPLIT_INPUTS, verify_property
from repairsolver.verification.replay import into_box

PLACE_SHARE, PLACE_SECONDS = 0.25, 12.0
"""Of the time: for finding where gates are needed; and without a limit of time, or at most."""

PROOF_SHARE, FIRST_PROOF, SEARCHED_PROOF = 0.3, 15.0, 25.0
"""Of the time that is left: for the proof of one candidate; and at most so many seconds, where places come
from samples, and where they cover what a search left open."""

LOOK_SHARE = 0.6
"""Of the time: for a violation, or a proof that there is none, where attacks find nothing at first."""

SEARCH_SECONDS = 40.0
"""After so long, whole regions are gated."""

WIDENING = 4.0
"""By how much more places are widened every time that something is violated outside of them."""

MOST_EXTENSIONS, LAST_SHARE = 6, 0.3
"""How often places are extended before whole regions are gated, or what share of the time is kept for it."""

SCATTERED, MOST_SCATTERED = 50_000, 2_000
"""Uniform samples of a region for its violating inputs, and how many of these are used."""

EARLIER = "the network had gates: of what earlier repairs proved, only properties given here are proved again"

FIRST = Effort(samples=4096, restarts=32, steps=30, rounds=1)
WIDE, WIDE_SECONDS = Effort(samples=16384, restarts=128, steps=40, rounds=2, keep=256), 3.0
"""For many violating inputs, far apart."""


def repair_gate(
    network: Network,
    prop: Property,
    *,
    gating: Gating,
    solver: str,
    points: PointSet | None,
    keep: PointSet | None,
    decision: Decision,
    limits: Limits,
    seed: int,
    on_event: OnEvent | None,
    **_: object,
) -> Repair:
    """Put gates into a network so that it has a property; see `repairsolver.repairing.engine`."""
    if points is not None or keep is not None:
        raise EditError("method 'gate' repairs properties, not points: leave `points` and `keep` out")
    session = Session(network, prop, gating, decision, limits, seed, on_event, solver)
    try:
        return _repaired(session)
    except KeyboardInterrupt:
        raise Interrupted(_result(session, "interrupted")) from None


def _repaired(session: Session) -> Repair:
    verdict = _first_look(session)
    if verdict.status is not VerifyStatus.VIOLATED:
        return _nothing_to_do(session, verdict)
    rare = "input splitting" in verdict.methods
    searched = _searched(session) if rare else None
    places = searched or _places(session, verdict)
    _try_output(session, places, SEARCHED_PROOF if searched else FIRST_PROOF)
    wanted = session.gating.place != "output" and not _impossible(session)
    if wanted and not (session.gating.place == "auto" and _nothing_lost(session)):
        try_inner(session, session.places or places)
    return _result(session, "")


def _first_look(session: Session) -> Verdict:
    found = attack(
        session.network, session.prop, seed=session.seed, effort=FIRST, seconds=min(session.left / 4, 1e6)
    )
    if found:
        session.say(
            f"{counted(len(found), 'counterexample')} of the original network", violation=found[0].violation
        )
        return Verdict(VerifyStatus.VIOLATED, found[0], found)
    return verify_property(
        session.network, session.prop, limits=session.limited(LOOK_SHARE), seed=session.seed,
        on_event=session.on_event, record=True,
    )  # fmt: skip


def _places(session: Session, verdict: Verdict) -> list[Place]:
    """Where the property is violated, as far as samples and attacks tell: the proof shows what is missing."""
    varying = max(int((r.upper > r.lower).sum()) for r in session.prop.regions if r.unsafe)
    if varying > MOST_SPLIT_INPUTS:
        session.say("too many inputs vary for a search of places: whole regions are gated")
        return whole_regions(session.prop)
    wide = attack(
        session.network, session.prop, seed=session.seed, effort=WIDE, worst=True,
        seconds=min(WIDE_SECONDS, session.left * PLACE_SHARE),
    )  # fmt: skip
    points = [c.input for c in (*verdict.counterexamples, *wide)]
    rng = np.random.default_rng(session.seed)
    for region in (region for region in session.prop.regions if region.unsafe):
        drawn = region.lower + rng.random((SCATTERED, len(region.lower))) * (region.upper - region.lower)
        drawn = into_box(drawn, region, session.network.element)
        wrong = violation(region, drawn, evaluate(session.network, drawn)) >= 0
        points += list(drawn[wrong][:MOST_SCATTERED])
    found = places_around(session.network, session.prop, np.array(points), most=BOXES)
    boxes = sum(len(place.lower) for place in found)
    session.say(f"{counted(len(points), 'violating input')} in {counted(boxes, 'box', 'boxes')}", boxes=boxes)
    return found


def _searched(session: Session) -> list[Place] | None:
    """What a search leaves open: where violations are so rare that samples do not show their extent."""
    seconds = min(PLACE_SECONDS, session.left * PLACE_SHARE)
    found = find_places(
        session.network, session.prop, most=BOXES, seconds=seconds, memory_gb=session.limits.memory_gb
    )
    session.say(f"{sum(len(place.lower) for place in found or [])} boxes cover what a search leaves open")
    return found


def _try_output(session: Session, places: Sequence[Place], most: float) -> None:
    """Correct the scores in the places, or in more of the regions until the rest is proved.

    Where only hidden neurons are to be overridden, this finds places outside of which nothing is wrong.
    """
    tried = list(places)
    for stage in range(MOST_EXTENSIONS + 2):
        gates = output_gates(session, tried)
        if gates is None:
            return
        candidate = prove(session, gates, "the scores", PROOF_SHARE, most=most)
        if candidate.proved:
            session.places = tried
            if session.gating.place != "inner":
                consider(session, candidate)
            return
        if candidate.verdict.status is not VerifyStatus.VIOLATED:
            most = SEARCHED_PROOF
        tried = _more(session, tried, candidate.verdict, stage)
    session.reasons.append("the scores' correction could not be proved")


def _more(session: Session, tried: list[Place], verdict: Verdict, stage: int) -> list[Place]:
    """The next places: with what violated or stayed open; in the end everything."""
    late = session.left < LAST_SHARE * (session.limits.seconds or np.inf)
    late = late or session.seconds > SEARCH_SECONDS
    if stage >= MOST_EXTENSIONS or late:
        return whole_regions(session.prop)
    if verdict.status is VerifyStatus.VIOLATED:
        again = attack(
            session.network, session.prop, seed=session.seed + stage + 1, effort=WIDE, worst=True,
            seconds=min(WIDE_SECONDS, session.left * PLACE_SHARE),
        )  # fmt: skip
        found = replace(verdict, counterexamples=(*verdict.counterexamples, *again))
        return extended(session.network, session.prop, tried, found, BOXES, SLACK * WIDENING ** (stage + 1))
    return _searched(session) or extended(session.network, session.prop, tried, verdict, BOXES, SLACK)


def _nothing_lost(session: Session) -> bool:
    """Whether the scores' correction is proved and changes no decision at safe samples of its boxes."""
    if session.best is None:
        return False
    safe = 0
    for place in session.places:
        region = place.demands(session.prop)
        points = samples(session.network, place, region, session.seed)
        before, after = session.network(points), session.best.network(points)
        kept = violation(region, points, before) < 0
        if moved(before, after, session.decision)[kept].any():
            return False
        safe += int(kept.sum())
    session.reasons.append(
        f"hidden neurons were not tried: all {counted(safe, 'safe sample')} of the boxes keep their decision"
    )
    return True


def _nothing_to_do(session: Session, verdict: Verdict) -> Repair:
    holds = verdict.status is VerifyStatus.HOLDS
    late = verdict.status is VerifyStatus.TIMEOUT
    status = RepairStatus.TIMEOUT if late else RepairStatus.UNKNOWN
    message = "no violation was found, and none was excluded: there is nothing to repair, but no proof"
    if holds:
        status, message = RepairStatus.REPAIRED, "the network has the property already: nothing was changed"
    edit = Gates((), session.network.sha256)
    found = Candidate(edit, session.network, verdict, "nowhere") if holds else None
    return _repair(session, status, found, message)


def _result(session: Session, message: str) -> Repair:
    gated = session.best is not None and bool(gates_of(session.network))
    earlier = gated and not asked_of(session.network)
    why = "; ".join([*session.reasons, *([EARLIER] if earlier else [])])
    if session.best is not None:
        where = _where(session.best, session)
        text = f"the gated network is proved to have the property, gates at {where}"
        text = f"{message}: the best repair proved so far, gates at {where}" if message else text
        text = f"{text} ({why})" if why else text
        return _repair(session, RepairStatus.REPAIRED, session.best, text)
    if _impossible(session):
        return _repair(session, RepairStatus.INFEASIBLE, None, why)
    late = bool(message) or session.left <= 0
    status = RepairStatus.TIMEOUT if late else RepairStatus.UNKNOWN
    text = "; ".join(filter(None, (message, why)))
    return _repair(session, status, None, text or "no gates were proved")


def _where(found: Candidate, session: Session) -> str:
    """What is gated, and how much of the regions at most."""
    boxes = [pair for gate in found.edit.gates for pair in zip(gate.lower, gate.upper, strict=True)]
    share = covered_share(session.prop, boxes)
    return f"{found.where}, on in at most {100 * share:.3g}% of a region's volume"


def _impossible(session: Session) -> bool:
    """Whether no scores are safe somewhere, so that nothing helps."""
    return any("no scores are safe" in reason for reason in session.reasons)


def _repair(session: Session, status: RepairStatus, found: Candidate | None, message: str) -> Repair:
    return Repair(
        status=status,
        network=None if found is None else found.network,
        edit=None if found is None else found.edit,
        norm="gates",
        cost=None if found is None else float(found.edit.count),
        lower_bound=0.0,
        gap=None,
        fidelity=None if found is None else found.kept,
        verdict=None if found is None else found.verdict,
        rounds=session.rounds,
        seconds=session.seconds,
        seed=session.seed,
        solver=session.solver,
        message=message,
    )
