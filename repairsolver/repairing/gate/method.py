"""Method `gate`: the weights stay; gates override the network where it goes wrong, proved everywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from repairsolver.certificate.cases import cases
from repairsolver.errors import EditError
from repairsolver.metrics import Fidelity, evaluate, fidelity
from repairsolver.network.forward import forward
from repairsolver.network.gated import Correction, NewGate, add_gates, gateable
from repairsolver.network.graph import Network, Node
from repairsolver.network.operators import Softmax
from repairsolver.property import PointSet
from repairsolver.property.specification import Property, Region
from repairsolver.repairing.gate.edit import Gates
from repairsolver.repairing.gate.regions import (
    Place,
    extended,
    find_places,
    overlaps,
    places_around,
    whole_regions,
)
from repairsolver.repairing.gate.shield import contradictions, shield
from repairsolver.repairing.gate.wishes import Gating
from repairsolver.repairing.result import Repair
from repairsolver.results import (
    Array,
    Event,
    Interrupted,
    Limits,
    OnEvent,
    RepairStatus,
    Verdict,
    VerifyStatus,
)
from repairsolver.verification.attack import Effort, attack
from repairsolver.verification.engine import MOST_SPLIT_INPUTS, verify_property
from repairsolver.verification.replay import into_box

SAMPLES = 2048
"""Uniform samples of every place, by which a correction is chosen."""

BOXES = 4
"""Boxes that one region's place may consist of."""

PLACE_SHARE, PLACE_SECONDS = 0.25, 12.0
"""Of the time: for finding where gates are needed; and without a limit of time, or at most."""

PROOF_SHARE, LONGEST = 0.3, 120.0
"""Of the time that is left: for the proof of one candidate; and its seconds without a limit of time."""

MOST_EXTENSIONS, LAST_SHARE = 6, 0.3
"""How often places are extended before whole regions are gated, or what share of the time is kept for it."""

SCATTERED, MOST_SCATTERED = 50_000, 2_000
"""Uniform samples of a region for its violating inputs, and how many of these are used."""

FIDELITY_SAMPLES, FIDELITY_SECONDS = 20_000, 5.0
"""For the choice between candidates."""

FIRST = Effort(samples=4096, restarts=32, steps=30, rounds=1)
WIDE, WIDE_SECONDS = Effort(samples=16384, restarts=128, steps=40, rounds=2, keep=256), 3.0
"""For many violating inputs, far apart."""


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
    decision: str
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


def repair_gate(
    network: Network,
    prop: Property,
    *,
    gating: Gating,
    solver: str,
    points: PointSet | None,
    keep: PointSet | None,
    decision: str,
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
        raise Interrupted(_result(session, "interrupted: the best repair proved so far")) from None


def _repaired(session: Session) -> Repair:
    verdict = _first_look(session)
    if verdict.status is not VerifyStatus.VIOLATED:
        return _nothing_to_do(session, verdict)
    places = _places(session)
    _try_output(session, places)
    if session.gating.place != "output":
        from repairsolver.repairing.gate.inner import try_inner

        try_inner(session, session.places or places)
    return _result(session, "")


def _first_look(session: Session) -> Verdict:
    found = attack(
        session.network, session.prop, seed=session.seed, effort=FIRST, seconds=min(session.left / 4, 1e6)
    )
    if found:
        session.say(f"{len(found)} counterexamples of the original network", violation=found[0].violation)
        return Verdict(VerifyStatus.VIOLATED, found[0], found)
    return verify_property(
        session.network, session.prop, limits=session.limited(PROOF_SHARE), seed=session.seed,
        on_event=session.on_event, record=True,
    )  # fmt: skip


def _places(session: Session) -> list[Place]:
    """Where the property is violated, as far as samples and attacks tell: the proof shows what is missing."""
    varying = max(int((r.upper > r.lower).sum()) for r in session.prop.regions if r.unsafe)
    if varying > MOST_SPLIT_INPUTS:
        session.say("too many inputs vary for a search of places: whole regions are gated")
        return whole_regions(session.prop)
    points = [c.input for c in attack(
        session.network, session.prop, seed=session.seed, effort=WIDE, worst=True,
        seconds=min(WIDE_SECONDS, session.left * PLACE_SHARE),
    )]  # fmt: skip
    rng = np.random.default_rng(session.seed)
    for region in session.prop.regions:
        drawn = region.lower + rng.random((SCATTERED, len(region.lower))) * (region.upper - region.lower)
        drawn = into_box(drawn, region, session.network.element)
        wrong = violation(region, drawn, evaluate(session.network, drawn)) >= 0
        points += list(drawn[wrong][:MOST_SCATTERED])
    found = places_around(session.network, session.prop, np.array(points), most=BOXES)
    boxes = sum(len(place.lower) for place in found)
    session.say(f"{len(points)} violating inputs lie in {boxes} boxes", boxes=boxes)
    return found


def output_node(network: Network) -> Node:
    """The scores that are corrected: the output, or what a final softmax reads.

    Raises:
        EditError: the file does not make that tensor by a node of its own.
    """
    last = network.output
    name = last.inputs[0] if isinstance(last.operator, Softmax) else last.name
    for node in gateable(network):
        if node.name == name:
            return node
    raise EditError(f"{network.name}: the file has no tensor of its scores ({name!r}) that could be gated")


def scores(network: Network, points: Array) -> Array:
    """What `output_node` holds, [b, m]."""
    node = output_node(network)
    upto = network.nodes[: network.nodes.index(node) + 1]
    return forward(replace(network, nodes=upto), points)


def samples(network: Network, place: Place, region: Region, seed: int) -> Array:
    """Uniform points of a place, within its region, as numbers of the network's type."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(place.lower), size=SAMPLES)
    low, high = np.maximum(place.lower, region.lower)[chosen], np.minimum(place.upper, region.upper)[chosen]
    return into_box(low + rng.random(low.shape) * (high - low), region, network.element)


def violation(region: Region, points: Array, outputs: Array) -> Array:
    """By how much points [b, n] of a region violate, [b]; an input without a number of the network's type in
    its interval may lie beside it."""
    return np.asarray(np.max([c.violation(points, outputs) for c in region.unsafe], axis=0))


def _try_output(session: Session, places: Sequence[Place]) -> None:
    """Correct the scores in the places, or in more of the regions until the rest is proved.

    Where only hidden neurons are to be overridden, this finds places outside of which nothing is wrong.
    """
    tried = list(places)
    for stage in range(MOST_EXTENSIONS + 2):
        gates = output_gates(session, tried)
        if gates is None:
            return
        candidate = prove(session, gates, "the scores", PROOF_SHARE)
        if candidate.proved:
            session.places = tried
            if session.gating.place != "inner":
                consider(session, candidate)
            return
        tried = _more(session, tried, candidate.verdict, stage)
    session.reasons.append("the scores' correction could not be proved")


def _more(session: Session, tried: list[Place], verdict: Verdict, stage: int) -> list[Place]:
    """The next places: with what violated or stayed open; in the end everything."""
    if stage >= MOST_EXTENSIONS or session.left < LAST_SHARE * (session.limits.seconds or np.inf):
        return whole_regions(session.prop)
    if verdict.status is VerifyStatus.VIOLATED:
        again = attack(
            session.network, session.prop, seed=session.seed + stage + 1, effort=WIDE, worst=True,
            seconds=min(WIDE_SECONDS, session.left * PLACE_SHARE),
        )  # fmt: skip
        found = replace(verdict, counterexamples=(*verdict.counterexamples, *again))
        return extended(session.network, session.prop, tried, found, BOXES)
    seconds = min(PLACE_SECONDS, session.left * PLACE_SHARE)
    searched = find_places(
        session.network, session.prop, most=BOXES, seconds=seconds, memory_gb=session.limits.memory_gb
    )
    return searched or extended(session.network, session.prop, tried, verdict, BOXES)


def output_gates(session: Session, places: Sequence[Place]) -> list[NewGate] | None:
    """A correction of the scores for every place; None if one has no correction, with the reason noted.

    Where regions lie over each other, the last gate meets the demands of all of them.
    """
    node, gates = output_node(session.network), []
    for place in [*places, *overlaps(session.prop, places)]:
        own = session.prop.regions[place.region]
        joined = [own, *(session.prop.regions[k] for k in place.others)]
        region = replace(own, unsafe=tuple(c for r in joined for c in r.unsafe))
        points = samples(session.network, place, region, session.seed)
        change = shield(region, points, scores(session.network, points))
        if change is None:
            session.reasons.append(_contradiction(region, place.region))
            return None
        gates.append(NewGate(node.name, node.layer, place.lower, place.upper, change))
    return [*merged(gates[: len(places)]), *gates[len(places) :]]


def merged(gates: Sequence[NewGate]) -> list[NewGate]:
    """Gates whose corrections differ at most in their margins as one gate, with the largest margins."""
    found: dict[bytes, NewGate] = {}
    for gate in gates:
        change = gate.change
        assert isinstance(change, Correction)
        key = b"|".join(a.tobytes() for a in (change.output, change.input, change.direction))
        if (before := found.get(key)) is not None:
            assert isinstance(before.change, Correction)
            corners = np.vstack([before.lower, gate.lower]), np.vstack([before.upper, gate.upper])
            bound = np.maximum(before.change.bound, change.bound)
            gate = NewGate(gate.tensor, gate.layer, *corners, replace(change, bound=bound))
        found[key] = gate
    return list(found.values())


def _contradiction(region: Region, number: int) -> str:
    """Why no scores are safe in a region, or why no correction moves all half-spaces at once."""
    rows = sum(len(c.bound) for c in region.unsafe)
    if len(contradictions(region)) == int(np.prod([len(c.bound) for c in region.unsafe])):
        return (
            f"in region {number} no scores are safe: whichever of the {rows} half-spaces are chosen, one of "
            f"each of the {len(region.unsafe)} conjunctions, they contradict each other"
        )
    return f"in region {number} every choice of half-spaces moves one of them against another"


def prove(
    session: Session, gates: Sequence[NewGate], where: str, share: float, *, places_first: bool = False
) -> Candidate:
    """The gated network, verified; with `places_first`, the rest only where all gates are proved where on."""
    session.rounds += 1
    network = add_gates(session.network, gates, monitor=session.gating.monitor)
    session.say(f"round {session.rounds}: {len(gates)} gates at {where}")
    if places_first:
        for case in cases(network, session.prop):
            if any(case.pattern):
                verdict = verify_property(
                    case.network, case.prop, limits=session.limited(share / 2), on_event=session.on_event,
                    seed=session.seed + session.rounds,
                )  # fmt: skip
                if verdict.status is not VerifyStatus.HOLDS:
                    return Candidate(Gates(tuple(gates), session.network.sha256), network, verdict, where)
    verdict = verify_property(
        network, session.prop, limits=session.limited(share), seed=session.seed + session.rounds,
        on_event=session.on_event, record=True,
    )  # fmt: skip
    edit = Gates(tuple(gates), session.network.sha256, session.gating.monitor)
    return Candidate(edit, network, verdict, where)


def consider(session: Session, candidate: Candidate) -> None:
    """Keep the candidate that keeps more decisions, then changes scores less, then has fewer gates."""
    kept = fidelity(
        session.network,
        candidate.network,
        decision="min" if session.decision == "min" else "max",
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
    why = "; ".join(session.reasons)
    if session.best is not None:
        text = message or f"the gated network is proved to have the property, gates at {session.best.where}"
        text = f"{text} ({why})" if why else text
        return _repair(session, RepairStatus.REPAIRED, session.best, text)
    if "no scores are safe" in why:
        return _repair(session, RepairStatus.INFEASIBLE, None, why)
    status = RepairStatus.TIMEOUT if session.left <= 0 else RepairStatus.UNKNOWN
    return _repair(session, status, None, why or message or "no gates were proved")


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
